import { sql } from 'drizzle-orm';
import { check, index, integer, json, jsonb, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core';
import type { Order } from '#libs/contracts/orders.ts';

/**
 * Whose orders a transaction is about, with the trace that each of them belongs to, and its span there. `traced`: its
 * spans are sent, though it is not ended yet.
 */
export type TransactionOrder = { orderId: string; traceparent: string; spanId?: string; traced?: true };

/**
 * The decision log. A row is begun without a sync, for people to see; only its decision is durable before
 * anybody is told. No row, or a row without a decision, means abort (presumed abort, Mohan & Lindsay 1983).
 */
export const transactions = pgTable(
  'transactions',
  {
    transactionId: uuid().primaryKey(),
    orders: jsonb().$type<TransactionOrder[]>().notNull(),
    participants: text().array().notNull(),
    /** Which coordinator runs it: on its restart it aborts what its last life left undecided. */
    coordinator: text().notNull(),
    beganAt: timestamp({ withTimezone: true }).notNull(),
    decision: text({ enum: ['commit', 'abort'] }),
    decidedAt: timestamp({ withTimezone: true }),
    /** When every participant had acknowledged the decision. */
    endedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    check('transactions_decision', sql`${table.decision} in ('commit', 'abort')`),
    index('transactions_open').on(table.beganAt).where(sql`${table.endedAt} is null`),
  ],
);

/** What an order was answered with: the same again under the same Idempotency-Key. */
export const answers = pgTable(
  'answers',
  {
    orderId: uuid().primaryKey(),
    transactionId: uuid().notNull(),
    outcome: text({ enum: ['done', 'refused'] }).notNull(),
    reason: text(),
    bodyHash: text(),
    /** Which transaction of its request this was: the earlier ones failed without refusing it. */
    attempt: integer().notNull().default(1),
    /** Not jsonb, which would forget the order of its fields: a repeat is answered byte for byte. */
    answer: json().$type<Order>().notNull(),
  },
  (table) => [check('answers_outcome', sql`${table.outcome} in ('done', 'refused')`)],
);
