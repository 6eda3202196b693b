import { sql } from 'drizzle-orm';
import { bigint, index, integer, jsonb, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core';
import { type Items, orderStatuses, protocols } from '#libs/contracts/orders.ts';

export { branches, failures, forcedEnds, journal, outbox } from '#libs/step/tables.ts';

export const orders = pgTable(
  'orders',
  {
    orderId: uuid().primaryKey(),
    status: text({ enum: orderStatuses }).notNull(),
    protocol: text({ enum: protocols }).notNull(),
    customerId: text().notNull(),
    city: text().notNull(),
    items: jsonb().$type<Items>().notNull(),
    /** Paise. */
    total: bigint({ mode: 'number' }).notNull(),
    reason: text(),
    /** Of the span that took the order in: what comes later about it continues there. */
    traceparent: text().notNull(),
    faults: text(),
    /** Of the body that came with an Idempotency-Key. */
    bodyHash: text(),
    createdAt: timestamp({ withTimezone: true }).notNull(),
    deadline: timestamp({ withTimezone: true }).notNull(),
    endedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    index('orders_created').on(table.createdAt, table.orderId),
    // Over `ended_at` and not over `status`: a confirmation then changes no index and stays on its page.
    index('orders_open').on(table.deadline).where(sql`${table.endedAt} is null`),
  ],
);

/** What the order service knows of the menu: names that exist, and prices. Stock is inventory's. */
export const menu = pgTable('menu', { dishId: text().primaryKey(), price: integer().notNull() });

export const cities = pgTable('cities', { city: text().primaryKey() });
