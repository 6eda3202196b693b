/** The letters of one service, for its operator: to read, to handle again, to put away. */
import { and, asc, desc, eq, gte, inArray, lt, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';
import type {
  DeadLetter,
  DeadLetterItem,
  LetterState,
  Replayed,
  StuckUndo,
} from '#libs/contracts/dead-letters.ts';
import type { ServiceName } from '#libs/contracts/events.ts';
import { isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import { attemptsMax, type Failures } from './failures.ts';
import type { Reaction } from './reaction.ts';
import { causeOf, type Readable, readMessage, reasonOf } from './read-message.ts';
import type { Item } from './saga-driver.ts';
import { failures } from './tables.ts';
import type { Verdict } from './transact.ts';

type Row = typeof failures.$inferSelect;

const stuckMax = 200;

export type DeadLettersOptions = {
  service: ServiceName;
  db: NodePgDatabase;
  failures: Failures;
  reactions: ReadonlyMap<string, Reaction>;
  submit(items: readonly Item[]): void;
};

/** `failed`: why it could not be handled, counted and kept. Anything else that stands in the way is thrown. */
export type ReplayEnd = { replayed: Replayed } | { failed: string };

export function createDeadLetters({ service, db, ...options }: DeadLettersOptions) {
  const rowOf = async (id: string): Promise<Row | undefined> => {
    const [row] = await db
      .select()
      .from(failures)
      .where(and(eq(failures.id, id), sql`${failures.state} <> 'retrying'`));
    return row;
  };

  const settle = async (id: string, state: 'replayed' | 'discarded'): Promise<DeadLetter | undefined> => {
    const settled = { state, settledAt: new Date() };
    const [row] = await db
      .update(failures)
      .set(settled)
      .where(and(eq(failures.id, id), inArray(failures.state, ['open', 'discarded'])))
      .returning();
    return row && toLetter(service, row);
  };

  return {
    /** The newest first, `limit + 1` of them, so that the caller sees whether there are more. */
    async list(query: { state: LetterState | 'all'; cursor?: string | undefined; limit: number }) {
      const { state, cursor, limit } = query;
      const rows = await db
        .select()
        .from(failures)
        .where(
          and(
            state === 'all' ? sql`${failures.state} <> 'retrying'` : eq(failures.state, state),
            cursor === undefined ? undefined : lt(failures.id, cursor),
          ),
        )
        .orderBy(desc(failures.id))
        .limit(limit + 1);
      return rows.map((row) => toItem(service, row));
    },

    async stuck(): Promise<StuckUndo[]> {
      const rows = await db
        .select()
        .from(failures)
        .where(
          and(
            eq(failures.state, 'retrying'),
            eq(failures.direction, 'undo'),
            gte(failures.attempts, attemptsMax),
          ),
        )
        .orderBy(asc(failures.firstAt))
        .limit(stuckMax);
      return rows.map((row) => toStuck(service, row));
    },

    async find(id: string): Promise<DeadLetter | undefined> {
      const row = await rowOf(id);
      return row && toLetter(service, row);
    },

    /** Gives nothing for one that is not there, or was replayed: what took effect cannot be put away. */
    discard: (id: string) => settle(id, 'discarded'),

    /**
     * Handles the letter's events again, here and by the same driver, as one attempt. The journal lets each take
     * effect once. So the letter may be marked afterwards, in a transaction of its own: when that is cut off the
     * letter stays open, and the next replay finds that all has been done. Throws what is nobody's failure.
     */
    async replay(id: string): Promise<ReplayEnd | undefined> {
      const row = await rowOf(id);
      if (!row) return undefined;
      if (row.state === 'replayed') return { replayed: { ...toLetter(service, row), effects: ['repeat'] } };
      const { readable, unreadable } = readMessage(row.subject, row.body, options.reactions);
      const [lost] = unreadable;
      if (lost) return fail(row, lost.reason);
      const ends = await Promise.allSettled(readable.map((one) => handle(one, row.attempts + 1)));
      for (const end of ends) {
        if (end.status === 'fulfilled') continue;
        if (isOutage(end.reason) || isLockTimeout(end.reason)) throw end.reason;
        return fail(row, end.reason);
      }
      const letter = (await settle(id, 'replayed')) ?? toLetter(service, { ...row, state: 'replayed' });
      return { replayed: { ...letter, effects: ends.map(effectOf) } };
    },
  };

  function handle({ event, reaction }: Readable, attempt: number): Promise<Verdict> {
    const intent = { reaction, cause: causeOf(event), attempt, takenAtMs: performance.now() };
    return new Promise((committed, failed) => {
      options.submit([{ intent, patient: false, committed, failed }]);
    });
  }

  async function fail(row: Row, error: unknown): Promise<ReplayEnd> {
    const reason = reasonOf(error);
    await options.failures.note([{ ...row, reason, final: true, attempts: 1 }]);
    return { failed: reason };
  }
}

const effectOf = (end: PromiseSettledResult<Verdict>): Replayed['effects'][number] =>
  end.status === 'fulfilled' && end.value.standing !== 'repeat' ? 'applied' : 'repeat';

const traceOf = ({ traceparent }: Row) => (traceparent === null ? null : traceIdOf(traceparent));

function toItem(service: ServiceName, row: Row): DeadLetterItem {
  const { id, reason, attempts, subject, orderId, step, messageId } = row;
  return {
    id: `${service}:${id}`,
    service,
    // The queries leave out what is retried.
    state: row.state as LetterState,
    reason,
    attempts,
    subject,
    orderId,
    step,
    traceId: traceOf(row),
    messageId,
    firstAt: row.firstAt.toISOString(),
    lastAt: row.lastAt.toISOString(),
    settledAt: row.settledAt?.toISOString() ?? null,
  };
}

function toLetter(service: ServiceName, row: Row): DeadLetter {
  const { traceparent, headers, body } = row;
  return { ...toItem(service, row), traceparent, headers, body };
}

function toStuck(service: ServiceName, row: Row): StuckUndo {
  const { subject, attempts, reason } = row;
  return {
    service,
    // An undo that was read has both.
    orderId: row.orderId ?? '',
    step: row.step ?? '',
    subject,
    attempts,
    reason,
    traceId: traceOf(row),
    firstAt: row.firstAt.toISOString(),
    lastAt: row.lastAt.toISOString(),
  };
}
