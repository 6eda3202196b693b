/**
 * What the broker has forgotten, found by comparing the outbox with the stream, in SQL. A row keeps the sequence that
 * its message has in the stream. Sequences are reused after a loss, so nothing is keyed on them: they only say which
 * rows to publish again, and what is published again gets a new one.
 */
import { statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';

export type Newest = {
  subject: string;
  /** The highest sequence of the rows on this subject; 0 when there is none. */
  last: number;
  /** The highest of those that lie before the beginning of the stream. */
  before: number;
};

const selectNewest = statement<Newest>(`
  select subject, coalesce(newest.sequence, 0) as last, coalesce(gone.sequence, 0) as before
  from unnest($1::text[]) with ordinality as own (subject, place)
  left join lateral (
    select stream_sequence as sequence, published_at from outbox
    where outbox.subject = own.subject and published_at is not null and stream_sequence is not null
    order by stream_sequence desc limit 1) as newest on newest.published_at > $3
  left join lateral (
    select stream_sequence as sequence, published_at from outbox
    where outbox.subject = own.subject and published_at is not null and stream_sequence < $2
    order by stream_sequence desc limit 1) as gone on gone.published_at > $3
  order by place`);

/**
 * Where the rows of each subject end, of those that were published after `since`: what is older the stream may have
 * dropped because of its age. In the order of the subjects. Two looks into an index for each, however large the
 * outbox is.
 */
export async function newestOf(
  tx: Tx,
  subjects: readonly string[],
  first: number,
  since: Date,
): Promise<Newest[]> {
  return selectNewest(tx, subjects, first, since);
}

/** Rows of one subject whose sequence is above `after` and not above `upTo`. */
export type Range = { subject: string; after: number; upTo: number };

/**
 * Of a range what the broker had stored before that; what it has stored since may rightly have such a sequence. Each row
 * once, `taken`: clocks differ, and what is published again may seem to be of before again.
 */
export type Late = { before: Date; taken: readonly string[] };

/** What the stream should have and does not: behind its end on a subject, or before its beginning. */
export function missingRanges(newest: readonly Newest[], lastOn: readonly number[], first: number): Range[] {
  return newest.flatMap(({ subject, last, before }, index) => {
    const end = lastOn[index] ?? 0;
    return [
      ...(last > end ? [{ subject, after: end, upTo: last }] : []),
      ...(before > 0 ? [{ subject, after: 0, upTo: first - 1 }] : []),
    ];
  });
}

const takeBackRange = statement<{ messageId: string }>(`
  update outbox set published_at = null where message_id in (
    select message_id from outbox
    where subject = $1 and published_at > $4 and stream_sequence > $2 and stream_sequence <= $3
      and published_at < $6 and message_id <> all($7::uuid[])
    limit $5 for update skip locked)
  returning message_id as "messageId"`);

/** Takes back that they are published, of `limit` rows at most, and gives their ids: the relay publishes them again. */
export async function returnRange(
  tx: Tx,
  { subject, after, upTo }: Range,
  since: Date,
  limit: number,
  late?: Late,
): Promise<string[]> {
  const { before = 'infinity', taken = [] } = late ?? {};
  const rows = await takeBackRange(tx, subject, after, upTo, since, limit, before, taken);
  return rows.map(({ messageId }) => messageId);
}

const takeBackHoles = statement<{ messageId: string }>(`
  update outbox set published_at = null where message_id in (
    select message_id from outbox
    where subject = any($1::text[]) and published_at > $3 and stream_sequence = any($2::bigint[])
    limit $4 for update skip locked)
  returning message_id as "messageId"`);

/** The same for what is missing inside of the stream. */
export async function returnHoles(
  tx: Tx,
  subjects: readonly string[],
  holes: readonly number[],
  since: Date,
  limit: number,
): Promise<string[]> {
  const rows = await takeBackHoles(tx, subjects, holes, since, limit);
  return rows.map(({ messageId }) => messageId);
}
