/**
 * What the checker looks at of two-phase commit: the decision log, the branches in the participants'
 * databases, and what stands prepared there. The log is read twice, around the participants' snapshots:
 *
 * - before them, for what is *due*: a commit that the log calls ended was acknowledged by every participant
 *   by then, so each snapshot that is taken later must show its branch;
 * - after them, for what was *decided*: the log is written before anybody is told, so a branch that a
 *   snapshot shows as committed must have its decision in the log that is read later.
 *
 * Neither compares clocks. The databases cannot be joined: the ids of committed branches travel as one text
 * per database, which at 100,000 transactions costs a tenth of what as many rows would.
 */
import type pg from 'pg';
import type { Order } from '#libs/contracts/orders.ts';
import { type Decision, type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';

export type TransactionFact = {
  transactionId: string;
  /** Null: begun, and not decided. */
  decision: Decision | null;
  orderIds: readonly string[];
  participants: readonly string[];
  /** Null: not all have acknowledged. */
  endedAgeMs: number | null;
  decidedAgeMs: number;
  /** When the participants' snapshots were taken, this commit had ended, or had been decided for too long. */
  due: boolean;
};
export type AnswerFact = {
  orderId: string;
  transactionId: string;
  outcome: 'done' | 'refused';
  bodyHash: string | null;
  /** What is told again under the key; null where there is none, and so nobody who could ask. */
  answer: Pick<
    Order,
    'protocol' | 'customerId' | 'city' | 'items' | 'total' | 'traceId' | 'createdAt'
  > | null;
};
/** `forcing`: not committed, and an operator wanted it aborted; whether it stands or has gone is not to be seen. */
export type BranchFact = { state: string; orderIds: readonly string[]; ageMs: number };
export type BranchFacts = {
  /** Transactions whose branch is committed here, by whomever. */
  committed: ReadonlySet<string>;
  /** Those that do not simply agree with the log, and all that an operator forced, or may have. */
  odd: ReadonlyMap<string, BranchFact>;
};
export type PreparedFact = { service: string; gid: string; owner: string; ageMs: number };
export type DecisionLog = {
  transactions: ReadonlyMap<string, TransactionFact>;
  answers: readonly AnswerFact[];
};
export type TwoPhaseFacts = {
  /** A text says why there is none. */
  log: DecisionLog | string;
  branches: Readonly<Record<ParticipantName, BranchFacts>>;
  prepared: readonly PreparedFact[];
};

/** For how long a decision may be on its way to the participants, and anything may stand prepared. */
export const inDoubtMsMax = 30_000;

export type Read = <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<Row[]>;

const age = (column: string) => `(extract(epoch from clock_timestamp() - ${column}) * 1000)::float8`;
const split = (text: string | null | undefined): string[] => (text ? text.split(' ') : []);
const hasTable = async (read: Read, table: string): Promise<boolean> =>
  (await read<{ there: boolean }>('select to_regclass($1) is not null as there', [table]))[0]?.there ?? false;

/** To be read before the participants' snapshots are taken. */
export async function readDue(coordinator: Read | undefined): Promise<ReadonlySet<string>> {
  if (!coordinator || !(await hasTable(coordinator, 'transactions'))) return new Set();
  const [row] = await coordinator<{ ids: string | null }>(
    `select string_agg(transaction_id::text, ' ') as ids from transactions
     where decision = 'commit' and (ended_at is not null or ${age('decided_at')} > $1)`,
    [inDoubtMsMax],
  );
  return new Set(split(row?.ids));
}

/** To be read after them. */
export async function readLog(
  coordinator: Read | undefined,
  due: ReadonlySet<string>,
): Promise<DecisionLog | string> {
  if (!coordinator) return "the coordinator's database is not configured";
  for (const table of ['transactions', 'answers']) {
    if (!(await hasTable(coordinator, table))) return `the coordinator's database has no table ${table}`;
  }
  const rows = await coordinator<TransactionRow>(`
    select transaction_id as "transactionId", decision, array_to_string(participants, ' ') as participants,
      (select string_agg(o ->> 'orderId', ' ') from jsonb_array_elements(orders) o) as "orderIds",
      ${age('ended_at')} as "endedAgeMs", ${age('coalesce(decided_at, began_at)')} as "decidedAgeMs"
    from transactions`);
  const answers = await coordinator<AnswerFact>(
    `select order_id as "orderId", transaction_id as "transactionId", outcome, body_hash as "bodyHash",
       case when body_hash is not null then answer end as answer from answers`,
  );
  const transactions = rows.map((row): [string, TransactionFact] => {
    const { transactionId, participants, orderIds } = row;
    const lists = { participants: split(participants), orderIds: split(orderIds) };
    return [transactionId, { ...row, ...lists, due: due.has(transactionId) }];
  });
  return { transactions: new Map(transactions), answers };
}

type TransactionRow = Omit<TransactionFact, 'participants' | 'orderIds' | 'due'> & {
  participants: string;
  orderIds: string | null;
};

/** To be read in the snapshots in which the participants' business tables are read. */
export async function readBranches(
  readIn: (name: ParticipantName) => Read,
  log: DecisionLog | string,
): Promise<Record<ParticipantName, BranchFacts>> {
  const entries = participantNames.map(async (name) => [name, await branchesOf(name, readIn(name), log)]);
  return Object.fromEntries(await Promise.all(entries));
}

async function branchesOf(name: string, read: Read, log: DecisionLog | string): Promise<BranchFacts> {
  const odd = new Map<string, BranchFact>();
  if (!(await hasTable(read, 'branches'))) return { committed: new Set(), odd };
  const [row] = await read<{ ids: string | null }>(
    `select string_agg(transaction_id::text, ' ') as ids from branches
     where state in ('prepared', 'heuristic-commit')`,
  );
  const committed = new Set(split(row?.ids));
  if (typeof log === 'string') return { committed, odd };
  const asked = [...committed].filter((id) => log.transactions.get(id)?.decision !== 'commit');
  for (const { transactionId, decision, participants } of log.transactions.values()) {
    const wanted = decision === 'commit' && participants.includes(name);
    if (wanted && !committed.has(transactionId)) asked.push(transactionId);
  }
  const rows = await read<BranchFact & { transactionId: string }>(
    `select b.transaction_id as "transactionId", order_ids::text[] as "orderIds", ${age('recorded_at')} as "ageMs",
       case when f.decision is null then state else 'heuristic-' || f.decision end as state
     from branches b left join forced_ends f on f.transaction_id = b.transaction_id
       and f.decision = case when state in ('prepared', 'heuristic-commit') then 'commit' else 'abort' end
     where state in ('heuristic-commit', 'heuristic-abort') or b.transaction_id = any($1::uuid[])
     union all
     select transaction_id, '{}', ${age('asked_at')}, 'forcing' from forced_ends f
     where decision = 'abort' and transaction_id = any($1::uuid[])
       and not exists (select from branches b where b.transaction_id = f.transaction_id)`,
    [asked],
  );
  for (const { transactionId, ...branch } of rows) odd.set(transactionId, branch);
  return { committed, odd };
}

/** Ours anywhere on the server, because gids are unique per server; anybody's in this database. */
export async function readPrepared(service: string, read: Read): Promise<PreparedFact[]> {
  const rows = await read<Omit<PreparedFact, 'service'>>(
    `select gid, owner, ${age('prepared')} as "ageMs"
     from pg_prepared_xacts where gid like '2pc:%' or database = current_database() order by prepared`,
  );
  return rows.map((row) => ({ service, ...row }));
}
