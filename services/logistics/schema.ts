import { index, pgTable, text, uuid } from 'drizzle-orm/pg-core';

export { branches, failures, forcedEnds, journal, outbox } from '#libs/step/tables.ts';

export const couriers = pgTable(
  'couriers',
  { courierId: text().primaryKey(), name: text().notNull(), city: text().notNull() },
  (table) => [index('couriers_city').on(table.city)],
);

export const assignments = pgTable('assignments', {
  orderId: uuid().primaryKey(),
  courierId: text().notNull(),
  status: text({ enum: ['assigned', 'unassigned'] }).notNull(),
});
