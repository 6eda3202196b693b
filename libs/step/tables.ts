/** The tables that services have beside their own: what it did, has to say, took part in, and failed at. */
import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  index,
  integer,
  jsonb,
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

/**
 * What operators have forced. A row is there before it is done, and goes when somebody else was first; without
 * `ended_at` a crash came in between, and either of the two may have been. Kept for ever: they are few.
 */
export const forcedEnds = pgTable(
  'forced_ends',
  {
    transactionId: uuid().notNull(),
    id: uuid().notNull(),
    decision: text({ enum: ['commit', 'abort'] }).notNull(),
    askedAt: timestamp({ withTimezone: true }).notNull(),
    endedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    primaryKey({ columns: [table.transactionId, table.id] }),
    check('forced_ends_decision', sql`${table.decision} in ('commit', 'abort')`),
  ],
);

/**
 * What failed: an event, or a message that holds none, from its first failed attempt on. `retrying` until it succeeds,
 * when the row is deleted, or until it is set aside: then the row is its dead letter. An undo is never set aside.
 */
export const failures = pgTable(
  'failures',
  {
    /** A UUIDv7 of the first failure: the list is in the order of these. */
    id: uuid().primaryKey(),
    /** Of the message and the event in it: what the broker delivers again is the same failure. */
    fingerprint: text().notNull().unique(),
    state: text({ enum: ['retrying', 'open', 'replayed', 'discarded'] }).notNull(),
    /** Null, with the next two: nothing here could read it. */
    direction: text({ enum: ['do', 'undo'] }),
    step: text(),
    orderId: uuid(),
    traceparent: text(),
    subject: text().notNull(),
    messageId: text().notNull(),
    headers: jsonb().$type<Record<string, string>>().notNull(),
    /** A message that holds this event alone, or the whole message as it came: what a replay reads. */
    body: text().notNull(),
    reason: text().notNull(),
    attempts: integer().notNull(),
    firstAt: timestamp({ withTimezone: true }).notNull(),
    lastAt: timestamp({ withTimezone: true }).notNull(),
    /** When it was replayed or discarded. */
    settledAt: timestamp({ withTimezone: true }),
    /** When the dead-letter stream had it. */
    announcedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    check('failures_state', sql`${table.state} in ('retrying', 'open', 'replayed', 'discarded')`),
    check('failures_direction', sql`${table.direction} in ('do', 'undo')`),
    index('failures_retrying').on(table.firstAt).where(sql`${table.state} = 'retrying'`),
    index('failures_open').on(table.id).where(sql`${table.state} = 'open'`),
    index('failures_unannounced')
      .on(table.id)
      .where(sql`${table.state} = 'open' and ${table.announcedAt} is null`),
  ],
);
