/**
 * The outbox in SQL: rows are written in the step's own transaction and published right after COMMIT. What
 * a crash left unpublished the relay claims with SKIP LOCKED. There is no cursor over a sequence (sequences
 * are drawn before commit, so a cursor skips late rows), no pg_snapshot_xmin (one prepared transaction
 * would freeze it) and no NOTIFY (it cannot be prepared). See docs/decisions/0004.
 */
import { eventsPerMessageMax, type SagaEvent } from '#libs/contracts/events.ts';
import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';

export type OutboxMessage = {
  messageId: string;
  subject: string;
  /** How many events the body holds. */
  events: number;
  body: string;
  createdAt: Date;
  /** An injected duplicate of that message: it is published, and has no row of its own. */
  copyOf?: string;
};

/** One message for the events of one type, within the bound. */
export function packMessages(
  said: readonly SagaEvent[],
  newId: () => string,
  createdAt: Date,
): OutboxMessage[] {
  const messages: OutboxMessage[] = [];
  for (const [subject, events] of Map.groupBy(said, (event) => event.type)) {
    for (let from = 0; from < events.length; from += eventsPerMessageMax) {
      const chunk = events.slice(from, from + eventsPerMessageMax);
      messages.push({
        messageId: newId(),
        subject,
        events: chunk.length,
        body: JSON.stringify(chunk),
        createdAt,
      });
    }
  }
  return messages;
}

const insertMessage = statement(`
  insert into outbox (message_id, subject, events, body, created_at) values ($1, $2, $3, $4, $5)`);

/**
 * A statement per message, all in one flight: there are one or two, and a body of JSON that is an element of
 * an array has every quote escaped here and unescaped there (measured: 8 % of a service's CPU).
 */
export async function append(tx: Tx, messages: readonly OutboxMessage[]): Promise<void> {
  const writes = messages.map(({ messageId, subject, events, body, createdAt }) =>
    insertMessage(tx, messageId, subject, events, body, createdAt),
  );
  await Promise.all(writes);
}

/** What the broker has stored, where, and when: not later than it said so (forgotten.ts). */
export type Stored = { messageId: string; sequence: number; storedAt: Date };

const updatePublished = statement(`
  update outbox set published_at = stored.at, stream_sequence = stored.sequence
  from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as stored (message_id, sequence, at)
  where outbox.message_id = stored.message_id and outbox.message_id in (
    select message_id from outbox where message_id = any($1::uuid[]) for update skip locked)`);

/**
 * A row that a relay holds at this moment is skipped, not waited for: the relay marks it itself. Nothing is asked of
 * `published_at`, because the planner would then read the whole index of unpublished rows, most of it dead entries.
 */
export async function markPublished(tx: Tx, stored: readonly Stored[]): Promise<void> {
  await updatePublished(tx, ...columns(stored, ['messageId', 'sequence', 'storedAt']));
}

/** With the sequence that the stream had it under and has no more; null when it was never marked. */
export type Unpublished = OutboxMessage & { streamSequence: number | null };

const selectUnpublished = statement<Unpublished>(`
  select message_id as "messageId", subject, events, body, created_at as "createdAt",
         stream_sequence as "streamSequence"
  from outbox where published_at is null and (created_at < $1 or created_at > $2)
  order by created_at limit $3 for update skip locked`);

/**
 * Claims rows that are older than a healthy publish takes, or as far ahead: a clock has been set back since, and by it
 * they would stay young for as long as the jump was. Another relay's rows are skipped, not waited for.
 */
export async function claimUnpublished(
  tx: Tx,
  now: Date,
  patienceMs: number,
  limit: number,
): Promise<Unpublished[]> {
  const [before, after] = [now.getTime() - patienceMs, now.getTime() + patienceMs];
  return selectUnpublished(tx, new Date(before), new Date(after), limit);
}

const deleteExpired = statement<{ messageId: string }>(`
  delete from outbox where message_id in (
    select message_id from outbox where published_at < $1 limit $2 for update skip locked)
  returning message_id as "messageId"`);

/** Gives how many rows were forgotten. */
export async function forgetPublished(tx: Tx, before: Date, limit: number): Promise<number> {
  return (await deleteExpired(tx, before, limit)).length;
}
