/**
 * The decision log: the one place where a global transaction is decided. Any number of coordinators may write
 * to it: the first decision of a transaction stands, and whoever comes second is told which one it was. That
 * row is the fence; there is no lease to lose.
 *
 * Decisions that come together share one statement and one sync, like everything else here.
 */
import type pg from 'pg';
import type { Order } from '#libs/contracts/orders.ts';
import type { Decision } from '#libs/contracts/two-phase.ts';
import { columns } from '#libs/postgres/statement.ts';
import { gathered } from './gathered.ts';
import type { TransactionOrder } from './schema.ts';

export type Begun = { transactionId: string; orders: TransactionOrder[]; beganAt: Date };
export type AnswerRow = {
  orderId: string;
  transactionId: string;
  outcome: 'done' | 'refused';
  reason: string | null;
  bodyHash: string | null;
  attempt: number;
  answer: Order;
};
export type Verdict = Begun & {
  participants: readonly string[];
  decision: Decision;
  answers: readonly AnswerRow[];
  /** Of the log, for a decision that rests on what stands in it: another one does not take it. */
  incarnation?: string;
};
export type OpenTransaction = Begun & {
  participants: string[];
  coordinator: string;
  decision: Decision | null;
  decidedAt: Date | null;
};

export type DecisionLog = ReturnType<typeof createDecisionLog>;

/** `synced` is for what others are told, `unsynced` for what may be forgotten in a crash of the database. */
export function createDecisionLog(pools: { synced: pg.Pool; unsynced: pg.Pool }, coordinator: string) {
  const { synced, unsynced } = pools;

  const begin = gathered<Begun, void>(async (begun) => {
    const rows = begun.map((one) => ({ ...one, orders: JSON.stringify(one.orders) }));
    await unsynced.query({
      name: 'begin',
      text: `insert into transactions (transaction_id, orders, participants, coordinator, began_at)
        select id, orders::jsonb, '{}', $4, began_at
        from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as begun (id, orders, began_at) order by id
        on conflict do nothing`,
      values: [...columns(rows, ['transactionId', 'orders', 'beganAt']), coordinator],
    });
    return new Map();
  });

  const decideIn = (pool: pg.Pool) =>
    gathered<Verdict, Decision>(async (verdicts) => {
      const at = new Date();
      const rows = verdicts.map((one) => ({
        ...one,
        orders: JSON.stringify(one.orders),
        participants: one.participants.join(','),
        incarnation: one.incarnation ?? null,
      }));
      const kept = verdicts.flatMap(({ answers, decision }) =>
        answers.map((one) => ({ ...one, answer: JSON.stringify(one.answer), decision })),
      );
      const { rows: stands } = await pool.query<{ transactionId: string; decision: Decision }>({
        name: 'decide',
        text: decideText,
        values: [
          ...columns(rows, ['transactionId', 'orders', 'participants', 'beganAt', 'decision']),
          coordinator,
          at,
          ...columns(kept, [
            'orderId',
            'transactionId',
            'outcome',
            'reason',
            'bodyHash',
            'attempt',
            'answer',
            'decision',
          ]),
          ...columns(rows, ['incarnation']),
        ],
      });
      return new Map(stands.map((row) => [row.transactionId, row.decision]));
    });

  /** What stands in the log about these transactions. */
  async function read(transactionIds: readonly string[]): Promise<Map<string, OpenTransaction>> {
    if (transactionIds.length === 0) return new Map();
    const { rows } = await synced.query<OpenTransaction>({
      name: 'read',
      text: `select ${openColumns} from transactions where transaction_id = any($1::uuid[])`,
      values: [transactionIds],
    });
    return new Map(rows.map((row) => [row.transactionId, row]));
  }

  const end = gathered<{ transactionId: string }, void>(async (ended) => {
    await unsynced.query({
      name: 'end',
      text: 'update transactions set ended_at = $2 where transaction_id = any($1::uuid[])',
      values: [ended.map(({ transactionId }) => transactionId), new Date()],
    });
    return new Map();
  });

  const noteTraced = gathered<{ transactionId: string }, void>(async (traced) => {
    await unsynced.query({
      name: 'note-traced',
      text: `update transactions set orders = (
          select jsonb_agg(one || '{"traced": true}' order by place)
          from jsonb_array_elements(orders) with ordinality as each (one, place))
        where transaction_id = any($1::uuid[]) and ended_at is null`,
      values: [traced.map(({ transactionId }) => transactionId)],
    });
    return new Map();
  });

  /** Which of these have no decision here. */
  async function undecided(transactionIds: readonly string[]): Promise<Set<string>> {
    if (transactionIds.length === 0) return new Set();
    const { rows } = await synced.query<{ id: string }>({
      name: 'undecided',
      text: `select id from unnest($1::uuid[]) as asked (id) where not exists (
        select from transactions where transaction_id = id and decision is not null)`,
      values: [transactionIds],
    });
    return new Set(rows.map(({ id }) => id));
  }

  /** When its server was started. Another copy, or another server, has another one. */
  async function incarnation(): Promise<string> {
    const text = `select ${incarnationNow} as at`;
    const { rows } = await synced.query<{ at: string }>({ name: 'incarnation', text });
    return rows[0]?.at ?? '';
  }

  return {
    begin,
    /**
     * Durable when it resolves; gives the decision that stands, which may be another's. Its answers are kept if it is
     * theirs. Undefined: it was made for another incarnation, and nothing is written.
     */
    decide: decideIn(synced),
    /** For an abort, which presumed abort needs no sync for. */
    noteAbort: decideIn(unsynced),
    read,
    undecided,
    incarnation,
    end,
    /** Its spans are sent, and somebody has not acknowledged: recovery is not to tell them again. */
    noteTraced,
    /** What is not known to be ended, the oldest first, from the one after `after` on. */
    async open(beganBefore: Date, limit: number, after?: OpenTransaction): Promise<OpenTransaction[]> {
      const { rows } = await synced.query<OpenTransaction>({
        name: 'open',
        text: `select ${openColumns} from transactions
          where ended_at is null and coalesce(decided_at, began_at) < $1
            and (began_at, transaction_id) > ($3, $4::uuid)
          order by began_at, transaction_id limit $2`,
        values: [beganBefore, limit, after?.beganAt ?? '-infinity', after?.transactionId ?? lowestId],
      });
      return rows;
    },
    /** Ended transactions of yesterday, with their answers: an Idempotency-Key is good for a day. */
    async forget(endedBefore: Date, limit: number): Promise<void> {
      await unsynced.query(
        `with forgotten as (
           delete from transactions where transaction_id in (
             select transaction_id from transactions where ended_at < $1 limit $2 for update skip locked)
           returning transaction_id, orders)
         delete from answers using forgotten, jsonb_array_elements(orders) as named
         where answers.order_id = (named ->> 'orderId')::uuid
           and answers.transaction_id = forgotten.transaction_id`,
        [endedBefore, limit],
      );
    },
    /** How the transaction of an order was decided, for its timeline. */
    async story(orderId: string) {
      const { rows } = await synced.query<
        Pick<AnswerRow, 'outcome' | 'reason' | 'attempt'> & { decidedAt: Date }
      >({
        name: 'story',
        text: `select a.outcome, a.reason, a.attempt, t.decided_at as "decidedAt"
          from answers a join transactions t using (transaction_id) where a.order_id = $1`,
        values: [orderId],
      });
      return rows[0];
    },
    async recall(orderId: string): Promise<AnswerRow | undefined> {
      const { rows } = await synced.query<AnswerRow>({
        name: 'recall',
        text: `select order_id as "orderId", transaction_id as "transactionId", outcome, reason,
          body_hash as "bodyHash", attempt, answer from answers where order_id = $1`,
        values: [orderId],
      });
      return rows[0];
    },
  };
}

const incarnationNow = 'pg_postmaster_start_time()::text';
const lowestId = '00000000-0000-0000-0000-000000000000';

const openColumns = `transaction_id as "transactionId", orders, participants, coordinator,
  began_at as "beganAt", decision, decided_at as "decidedAt"`;

/**
 * Every verdict is told what stands. Answers are kept beside the decision that they follow from, whoever made it: a
 * refusal that recovery aborted first is told to its client all the same. A decision that stands is written again as
 * it is, because only so this statement sees one that another has made since it began.
 */
const decideText = `
  with decided as (
    insert into transactions as before
      (transaction_id, orders, participants, coordinator, began_at, decision, decided_at)
    select id, orders::jsonb, string_to_array(participants, ','), $6, began_at, decision, $7
    from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $16::text[])
      as verdict (id, orders, participants, began_at, decision, incarnation)
    where incarnation is null or incarnation = ${incarnationNow} order by id
    on conflict (transaction_id) do update
      set decision = coalesce(before.decision, excluded.decision),
          decided_at = coalesce(before.decided_at, excluded.decided_at),
          participants =
            case when before.decision is null then excluded.participants else before.participants end
    returning transaction_id, decision),
  kept as (
    insert into answers (order_id, transaction_id, outcome, reason, body_hash, attempt, answer)
    select distinct on (a.order_id) a.order_id, a.transaction_id, a.outcome, a.reason, a.body_hash, a.attempt,
      a.answer::json
    from unnest($8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::text[], $13::integer[], $14::text[],
        $15::text[])
      as a (order_id, transaction_id, outcome, reason, body_hash, attempt, answer, decision)
      join decided using (transaction_id, decision)
    order by a.order_id, a.outcome
    on conflict (order_id) do update
      set transaction_id = excluded.transaction_id, outcome = excluded.outcome, reason = excluded.reason,
          body_hash = excluded.body_hash, attempt = excluded.attempt, answer = excluded.answer
      where answers.outcome = 'refused' and excluded.outcome = 'done')
  select transaction_id as "transactionId", decision from decided`;
