/**
 * The outbox in SQL: rows are written in the step's own transaction and published right after COMMIT. What
 * a crash left unpublished the relay claims with SKIP LOCKED. There is no cursor over a sequence (sequences
 * are drawn before commit, so a cursor skips late rows), no pg_snapshot_xmin (one prepared transaction
 * would freeze it) and no NOTIFY (it cannot be prepared). See docs/decisions/0004.
 */
import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';

export type OutboxMessage = {
  messageId: string;
  subject: string;
  /** How many events the body holds. */
  events: number;
  body: string;
  createdAt: Date;
};

const insertMessages = statement(`
  insert into outbox (message_id, subject, events, body, created_at)
  select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::timestamptz[])`);

export async function append(tx: Tx, messages: readonly OutboxMessage[]): Promise<void> {
  await insertMessages(tx, ...columns(messages, ['messageId', 'subject', 'events', 'body', 'createdAt']));
}

const updatePublished = statement(`
  update outbox set published_at = $2 where message_id in (
    select message_id from outbox where message_id = any($1::uuid[]) and published_at is null
    for update skip locked)`);

/** A row that a relay holds at this moment is skipped, not waited for: the relay marks it itself. */
export async function markPublished(tx: Tx, messageIds: readonly string[], at: Date): Promise<void> {
  await updatePublished(tx, messageIds, at);
}

const selectUnpublished = statement<OutboxMessage>(`
  select message_id as "messageId", subject, events, body, created_at as "createdAt"
  from outbox where published_at is null and created_at < $1
  order by created_at limit $2 for update skip locked`);

/** Claims rows that are older than a healthy publish takes. Another relay's rows are skipped, not waited for. */
export async function claimUnpublished(tx: Tx, olderThan: Date, limit: number): Promise<OutboxMessage[]> {
  return selectUnpublished(tx, olderThan, limit);
}

const deleteExpired = statement<{ messageId: string }>(`
  delete from outbox where message_id in (
    select message_id from outbox where published_at < $1 limit $2 for update skip locked)
  returning message_id as "messageId"`);

/** Gives how many rows were forgotten. */
export async function forgetPublished(tx: Tx, before: Date, limit: number): Promise<number> {
  return (await deleteExpired(tx, before, limit)).length;
}
