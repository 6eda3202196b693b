import { sql } from 'drizzle-orm';
import { bigint, check, integer, jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import type { Items } from '#libs/contracts/orders.ts';

export { branches, failures, forcedEnds, journal, outbox } from '#libs/step/tables.ts';

/** Portions of a dish: `free` can be promised, `reserved` is promised to orders. */
export const stock = pgTable(
  'stock',
  {
    dishId: text().primaryKey(),
    name: text().notNull(),
    price: integer().notNull(),
    free: bigint({ mode: 'number' }).notNull(),
    reserved: bigint({ mode: 'number' }).notNull(),
  },
  (table) => [
    check('stock_free', sql`${table.free} >= 0`),
    check('stock_reserved', sql`${table.reserved} >= 0`),
  ],
);

export const reservations = pgTable('reservations', {
  orderId: uuid().primaryKey(),
  items: jsonb().$type<Items>().notNull(),
  status: text({ enum: ['reserved', 'released'] }).notNull(),
});
