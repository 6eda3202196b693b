/**
 * The journal in SQL. Entries are claimed sorted by key, so that two batches cannot deadlock each other, and
 * before any business row is locked, so that all transactions take their locks in one order.
 *
 * The barrier is DTM's (https://en.dtm.pub/practice/barrier): an undo first inserts the *forward* entry. If
 * that succeeds the step never ran (empty compensation) and a late one will find the entry (hanging). A
 * forward transaction that is still open makes the insert wait, so there is no check-then-act race.
 */
import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';

export type Direction = 'do' | 'undo';
export type EntryOutcome = 'done' | 'refused' | 'empty' | 'barred';

export type Entry = {
  orderId: string;
  step: string;
  direction: Direction;
  outcome: EntryOutcome;
  reason: string | null;
  eventId: string | null;
  eventType: string | null;
  lamport: number;
  causationId: string;
  attempt: number;
};

export type EntryKey = Pick<Entry, 'orderId' | 'step' | 'direction'>;

export const keyOf = ({ orderId, step, direction }: EntryKey): string => `${orderId}/${step}/${direction}`;

const insertNewEntries = statement(`
  insert into journal (order_id, step, direction, outcome, event_id, event_type, lamport, causation_id,
                       attempt, recorded_at)
  select order_id, $1, 'do', 'done', event_id, $2, lamport, causation_id, attempt, $3::timestamptz
  from unnest($4::uuid[], $5::uuid[], $6::int[], $7::uuid[], $8::int[])
    as claimed (order_id, event_id, lamport, causation_id, attempt)`);

/**
 * Inserts forward entries that are presumed to be new, and fails when one of them is not (`isRepeat`): nothing need
 * wait for its answer. `on conflict` would look every key up, take a lock and write a record of its own for each row
 * before PostgreSQL believes it, and what all entries of a step share need not be an array: 5 µs a row, not 10.
 */
export async function claimNew(tx: Tx, entries: readonly Entry[], at: Date): Promise<void> {
  const kinds = Map.groupBy(inKeyOrder(entries), ({ step, eventType }) => `${step} ${eventType}`);
  const inserts = [...kinds.values()].map((same) => {
    const { step = '', eventType } = same[0] ?? {};
    return insertNewEntries(tx, step, eventType, at, ...columns(same, newColumns));
  });
  await Promise.all(inserts);
}

const newColumns = ['orderId', 'eventId', 'lamport', 'causationId', 'attempt'] as const;

/**
 * `presumed`: all steps of a batch are presumed to come for the first time, and the transaction fails when one does
 * not. `looked-up`: repeats are found, and have no effect.
 */
export type Claims = 'presumed' | 'looked-up';

/** Almost every cause comes once. A transaction that met a repeat has left nothing behind, and is run once more. */
export async function presumingFirst<T>(run: (claims: Claims) => Promise<T>): Promise<T> {
  try {
    return await run('presumed');
  } catch (error) {
    if (isRepeat(error)) return run('looked-up');
    throw error;
  }
}

const uniqueViolation = '23505';

/** Whether an entry was there already that `claimNew` presumed to be new. */
export function isRepeat(error: unknown): boolean {
  const { code, table } = (error ?? {}) as { code?: unknown; table?: unknown };
  return code === uniqueViolation && table === 'journal';
}

const insertEntries = statement<{ claimed: number; keys: string[] | null }>(`
  with claimed as (
    insert into journal (order_id, step, direction, outcome, event_id, event_type, lamport, causation_id,
                         attempt, recorded_at)
    select *, $10::timestamptz from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[],
                                           $6::text[], $7::int[], $8::uuid[], $9::int[])
    on conflict do nothing
    returning order_id, step, direction)
  select count(*)::int as claimed,
         case when count(*) < $11 then array_agg(order_id || '/' || step || '/' || direction) end as keys
  from claimed`);

/**
 * Inserts the entries; gives the keys of those that were not there. What is missing is a repeat or barred.
 * The server names the keys only when some are missing: almost always all of them are new.
 */
export async function claim(tx: Tx, entries: readonly Entry[], at: Date): Promise<Set<string>> {
  const sorted = inKeyOrder(entries);
  const [answer] = await insertEntries(tx, ...columns(sorted, claimedColumns), at, sorted.length);
  if (answer?.claimed === sorted.length) return new Set(sorted.map(keyOf));
  return new Set(answer?.keys ?? []);
}

/** The one order in which all transactions claim. A step's entry comes before its undo's. */
function inKeyOrder(entries: readonly Entry[]): Entry[] {
  return entries.toSorted((a, b) => {
    if (a.step !== b.step) return a.step < b.step ? -1 : 1;
    if (a.orderId !== b.orderId) return a.orderId < b.orderId ? -1 : 1;
    return a.direction < b.direction ? -1 : 1;
  });
}

const claimedColumns = [
  'orderId',
  'step',
  'direction',
  'outcome',
  'eventId',
  'eventType',
  'lamport',
  'causationId',
  'attempt',
] as const;

const selectForward = statement<{ orderId: string; step: string; outcome: EntryOutcome; lamport: number }>(`
  select j.order_id as "orderId", j.step, j.outcome, j.lamport
  from journal j join unnest($1::uuid[], $2::text[]) as wanted (order_id, step)
    on j.order_id = wanted.order_id and j.step = wanted.step
  where j.direction = 'do'`);

/** How the forward steps ended that these undos are about. */
export async function recallForward(
  tx: Tx,
  undos: readonly EntryKey[],
): Promise<Map<string, { outcome: EntryOutcome; lamport: number }>> {
  const rows = await selectForward(tx, ...columns(undos, ['orderId', 'step']));
  return new Map(rows.map((row) => [keyOf({ ...row, direction: 'do' }), row]));
}

const selectLatest = statement<{ orderId: string; lamport: number }>(`
  select order_id as "orderId", max(lamport) as lamport from journal
  where order_id = any($1::uuid[]) and causation_id <> all($2::uuid[]) group by order_id`);

/** The highest logical time that this service knows of these orders, these very requests left aside. */
export async function recallLamports(
  tx: Tx,
  orderIds: readonly string[],
  requestIds: readonly string[],
): Promise<Map<string, number>> {
  const rows = await selectLatest(tx, orderIds, requestIds);
  return new Map(rows.map((row) => [row.orderId, row.lamport]));
}

const updateEntries = statement(`
  update journal j set outcome = u.outcome, reason = u.reason, event_id = u.event_id,
                       event_type = u.event_type, lamport = u.lamport
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::int[])
    as u (order_id, step, direction, outcome, reason, event_id, event_type, lamport)
  where j.order_id = u.order_id and j.step = u.step and j.direction = u.direction`);

/** Corrects entries that did not end as they were claimed. Entries are claimed as done: most of them are. */
export async function correct(tx: Tx, entries: readonly Entry[]): Promise<void> {
  await updateEntries(
    tx,
    ...columns(entries, [
      'orderId',
      'step',
      'direction',
      'outcome',
      'reason',
      'eventId',
      'eventType',
      'lamport',
    ]),
  );
}
