/**
 * What failed, in SQL (see the table in tables.ts). Only failures cost anything here: a message that comes for the
 * first time and succeeds is never looked for.
 */
import type pg from 'pg';
import { statement } from '#libs/postgres/statement.ts';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import type { Direction } from './journal.ts';

/** Failed attempts of a step, after which it is set aside, and of an undo, after which it counts as stuck. */
export const attemptsMax = 8;

export type FailureState = 'retrying' | 'open' | 'replayed' | 'discarded';

/** One failed attempt. */
export type Failure = {
  fingerprint: string;
  direction: Direction | null;
  step: string | null;
  orderId: string | null;
  traceparent: string | null;
  subject: string;
  messageId: string;
  headers: Record<string, string>;
  body: string;
  reason: string;
  /** More tries are no use: it is set aside, whatever has been tried. */
  final: boolean;
  /** Tries that this attempt stands for: 1, or all of them when nobody lived to count. */
  attempts: number;
};

/** What is known of a failure that was noted. */
export type Known = { fingerprint: string; state: FailureState; attempts: number };

export type Failures = {
  /** Before a last try, of which nobody may live to tell (last-try.ts): they stay what is retried, whatever they count. */
  noteBefore(tried: readonly Failure[]): Promise<void>;
  /** Counts an attempt of each, and says what has become of them. */
  note(failed: readonly Failure[]): Promise<Map<string, Known>>;
  recall(fingerprints: readonly string[]): Promise<Map<string, Known>>;
  /** They have succeeded after all. What was set aside stays. */
  forget(fingerprints: readonly string[]): Promise<void>;
  /** Last tries that this process has lived through, and whose end could not be written down: their fingerprints. */
  outlived: Set<string>;
};

export function createFailures(options: { pool: pg.Pool; now(): Date; newId(): string }): Failures {
  const { pool, now, newId } = options;
  const noteAll = async (failed: readonly Failure[], opensAfter: number) => {
    // Sorted, so that two of these cannot wait for each other.
    const sorted = [...failed].sort((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));
    const rows = await runThenCommit(pool, (tx) =>
      Promise.all(sorted.map((failure) => noteOne(tx, newId(), failure, now(), opensAfter))),
    );
    return byFingerprint(rows.flat());
  };
  return {
    async noteBefore(tried) {
      await noteAll(tried, never);
    },
    note: (failed) => noteAll(failed, attemptsMax),
    recall: async (fingerprints) =>
      byFingerprint(await runThenCommit(pool, (tx) => selectKnown(tx, fingerprints))),
    forget: async (fingerprints) => {
      await runThenCommit(pool, (tx) => deleteRetrying(tx, fingerprints));
    },
    outlived: new Set(),
  };
}

/** A failure opens a letter again that was replayed or discarded: it is the newer word. */
const upsertFailure = statement<Known>(`
  insert into failures as f (id, fingerprint, state, direction, step, order_id, traceparent, subject, message_id,
                             headers, body, reason, attempts, first_at, last_at)
  values ($1, $2, case when $3::boolean then 'open' else 'retrying' end, $4, $5, $6, $7, $8, $9,
          $10::text::jsonb, $11, $12, $13, $14, $14)
  on conflict (fingerprint) do update set
    attempts = greatest(f.attempts + 1, excluded.attempts), reason = excluded.reason, last_at = excluded.last_at,
    settled_at = null, announced_at = null,
    state = case when excluded.state = 'open' then 'open'
                 when f.direction = 'do' and f.attempts + 1 >= $15::int then 'open'
                 else 'retrying' end
  returning fingerprint, state, attempts`);

/** Attempts that nothing reaches. */
const never = 2 ** 31 - 1;

const noteOne = (tx: Tx, id: string, failure: Failure, at: Date, opensAfter: number): Promise<Known[]> => {
  const { fingerprint, final, direction, step, orderId, traceparent, subject, messageId } = failure;
  const { headers, body, reason, attempts } = failure;
  return upsertFailure(
    tx,
    id,
    fingerprint,
    final,
    direction,
    step,
    orderId,
    traceparent,
    subject,
    messageId,
    JSON.stringify(headers),
    body,
    reason,
    attempts,
    at,
    opensAfter,
  );
};

const selectKnown = statement<Known>(
  'select fingerprint, state, attempts from failures where fingerprint = any($1::text[])',
);

const deleteRetrying = statement(
  "delete from failures where fingerprint = any($1::text[]) and state = 'retrying'",
);

const byFingerprint = (rows: readonly Known[]): Map<string, Known> =>
  new Map(rows.map((row) => [row.fingerprint, row]));
