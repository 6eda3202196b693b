/** The tables that services have beside their own: what it did, what it has to say, what it took part in. */
import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';

/**
 * The journal: idempotency key, barrier and audit in one. One row per order, step and direction, written in
 * the step's own transaction. `barred` is a forward step that never ran and never may; `empty` is an undo
 * that found nothing to undo.
 */
export const journal = pgTable(
  'journal',
  {
    orderId: uuid().notNull(),
    step: text().notNull(),
    direction: text({ enum: ['do', 'undo'] }).notNull(),
    outcome: text({ enum: ['done', 'refused', 'empty', 'barred'] }).notNull(),
    reason: text(),
    /** The event that this entry decided; null where it said nothing. */
    eventId: uuid(),
    eventType: text(),
    lamport: integer().notNull(),
    causationId: uuid().notNull(),
    attempt: integer().notNull(),
    recordedAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.step, table.direction] }),
    check('journal_direction', sql`${table.direction} in ('do', 'undo')`),
    check('journal_outcome', sql`${table.outcome} in ('done', 'refused', 'empty', 'barred')`),
  ],
);

/**
 * The outbox: one row is one message. The row's id is the message id, so that the broker recognises a
 * repeat. Rows stay after they are published, so that a broker that lost its tail can be fed again.
 */
export const outbox = pgTable(
  'outbox',
  {
    messageId: uuid().primaryKey(),
    subject: text().notNull(),
    events: integer().notNull(),
    body: text().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull(),
    publishedAt: timestamp({ withTimezone: true }),
    /** Where the stream has the message, or had it: kept when `published_at` is taken back. See forgotten.ts. */
    streamSequence: bigint({ mode: 'number' }),
  },
  (table) => [
    index('outbox_unpublished').on(table.createdAt).where(sql`${table.publishedAt} is null`),
    index('outbox_published').on(table.publishedAt).where(sql`${table.publishedAt} is not null`),
    index('outbox_stored')
      .on(table.subject, table.streamSequence)
      .where(sql`${table.publishedAt} is not null`),
  ],
);

/**
 * The branches of two-phase commit that were committed here, and those that were barred before they arrived.
 * The row is inserted by the branch's own transaction, so it is visible exactly when that is committed.
 */
export const branches = pgTable(
  'branches',
  {
    transactionId: uuid().primaryKey(),
    state: text({ enum: ['prepared', 'barred', 'heuristic-commit', 'heuristic-abort'] }).notNull(),
    orderIds: uuid().array().notNull(),
    recordedAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    check(
      'branches_state',
      sql`${table.state} in ('prepared', 'barred', 'heuristic-commit', 'heuristic-abort')`,
    ),
    index('branches_recorded').on(table.recordedAt),
  ],
);
