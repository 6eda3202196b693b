import { sql } from 'drizzle-orm';
import { bigint, check, pgTable, text, uuid } from 'drizzle-orm/pg-core';

export { branches, failures, forcedEnds, journal, outbox } from '#libs/step/tables.ts';

/** Amounts are paise. */
export const wallets = pgTable(
  'wallets',
  { customerId: text().primaryKey(), balance: bigint({ mode: 'number' }).notNull() },
  (table) => [check('wallets_balance', sql`${table.balance} >= 0`)],
);

export const payments = pgTable('payments', {
  orderId: uuid().primaryKey(),
  customerId: text().notNull(),
  amount: bigint({ mode: 'number' }).notNull(),
  status: text({ enum: ['charged', 'refunded'] }).notNull(),
});
