import { index, pgTable, primaryKey, text, timestamp, uuid } from 'drizzle-orm/pg-core';

export { failures, journal, outbox } from '#libs/step/tables.ts';

export const notifications = pgTable(
  'notifications',
  {
    notificationId: uuid().notNull(),
    orderId: uuid().notNull(),
    customerId: text().notNull(),
    kind: text({ enum: ['confirmed', 'dispatched', 'cancelled'] }).notNull(),
    text: text().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.kind] }),
    index('notifications_id').on(table.notificationId),
  ],
);
