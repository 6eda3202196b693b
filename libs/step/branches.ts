/**
 * The branches of global transactions in SQL. A branch's row is inserted in the branch's own transaction, so
 * it is visible exactly when the branch is committed; an abort of a branch that has not arrived inserts it
 * first, and bars it (the same barrier as the journal's). The primary key decides every race between the two.
 */
import pg from 'pg';
import type { CommittedBranch, CommittedQuestion, InDoubtItem } from '#libs/contracts/two-phase.ts';
import { ask } from '#libs/postgres/ask.ts';
import { statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';

export type BranchState = 'prepared' | 'barred' | 'heuristic-commit' | 'heuristic-abort';

const insertBranch = statement(`
  insert into branches (transaction_id, state, order_ids, recorded_at) values ($1, 'prepared', $2, $3)`);

/** Fails with a unique violation when this branch was prepared or barred before. */
export const enterBranch = (tx: Tx, transactionId: string, orderIds: readonly string[], at: Date) =>
  insertBranch(tx, transactionId, orderIds, at);

/**
 * Bars branches that have not arrived. Not synced: if a crash forgets it, a branch that arrives late stands in
 * doubt until it is told to abort, which is slower and no less right.
 */
export async function barBranches(pool: pg.Pool, transactionIds: readonly string[], at: Date): Promise<void> {
  await ask(pool, {
    name: 'bar-branches',
    text: `with unsynced as (select set_config('synchronous_commit', 'off', true))
      insert into branches (transaction_id, state, order_ids, recorded_at)
      select id, 'barred', '{}', $2 from unsynced, unnest($1::uuid[]) as barred (id) order by id
      on conflict do nothing`,
    values: [transactionIds, at],
  });
}

export async function branchState(pool: pg.Pool, transactionId: string): Promise<BranchState | undefined> {
  const { rows } = await pool.query({
    name: 'branch-state',
    text: 'select state from branches where transaction_id = $1',
    values: [transactionId],
  });
  return rows[0]?.state;
}

const undefinedObject = '42704';

/** False: no such prepared transaction (any more). */
export async function endPrepared(pool: pg.Pool, verb: 'commit' | 'rollback', gid: string): Promise<boolean> {
  // Most branches that are aborted were never prepared; a commit mostly finds its own.
  if (verb === 'rollback' && !(await isPrepared(pool, gid))) return false;
  try {
    await ask(pool, `${verb} prepared ${pg.escapeLiteral(gid)}`);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === undefinedObject) return false;
    throw error;
  }
}

export async function isPrepared(pool: pg.Pool, gid: string): Promise<boolean> {
  const text = 'select from pg_prepared_xacts where gid = $1';
  const { rowCount } = await pool.query({ name: 'is-prepared', text, values: [gid] });
  return rowCount === 1;
}

/** Gids of this database that have stood prepared for longer than that. */
export async function preparedGids(pool: pg.Pool, olderThanMs: number): Promise<string[]> {
  const { rows } = await pool.query({
    name: 'prepared-gids',
    text: `select gid from pg_prepared_xacts where database = current_database()
      and prepared < now() - $1 * interval '1 millisecond'`,
    values: [olderThanMs],
  });
  return rows.map(({ gid }) => gid);
}

export type PreparedRow = Pick<InDoubtItem, 'gid' | 'locks' | 'waiting' | 'ageMs'> & { preparedAt: Date };

/**
 * Everything prepared here, with its locks and who waits. A session that waits for a row waits for the
 * transaction that holds it; the next one waits for the tuple, behind the first: hence the recursion.
 */
export async function readPrepared(pool: pg.Pool): Promise<PreparedRow[]> {
  const { rows } = await pool.query<PreparedRow>(`
    with recursive prepared as (
      select gid, prepared, transaction::text as xid from pg_prepared_xacts where database = current_database()),
    blocked as (
      select w.pid, p.gid, array[p.gid] as behind
      from pg_locks w join prepared p on w.transactionid::text = p.xid where not w.granted
      union
      select a.pid, b.gid, array[b.pid::text]
      from blocked b join pg_stat_activity a on b.pid = any(pg_blocking_pids(a.pid)))
    select p.gid, p.prepared as "preparedAt",
      greatest(0, extract(epoch from clock_timestamp() - p.prepared) * 1000)::int as "ageMs",
      coalesce((select json_agg(json_build_object('table', t.name, 'modes', t.modes) order by t.name) from (
        select l.relation::regclass::text as name, array_agg(distinct l.mode) as modes
        from pg_locks own join pg_locks l on l.virtualtransaction = own.virtualtransaction and l.pid is null
        join pg_class c on c.oid = l.relation and c.relkind = 'r'
        where own.transactionid::text = p.xid and own.granted and own.pid is null group by 1) t), '[]') as locks,
      coalesce((select json_agg(json_build_object('pid', w.pid, 'who', w.who, 'waitingMs', w.ms,
          'behind', w.behind, 'statement', w.query) order by w.ms desc) from (
        select b.pid, a.application_name as who, array_agg(distinct behind) as behind,
          greatest(0, extract(epoch from clock_timestamp() - a.state_change) * 1000)::int as ms,
          left(regexp_replace(a.query, '\\s+', ' ', 'g'), 120) as query
        from (select pid, gid, unnest(behind) as behind from blocked) b join pg_stat_activity a using (pid)
        where b.gid = p.gid group by 1, 2, 4, 5) w), '[]') as waiting
    from prepared p order by p.prepared`);
  return rows;
}

/**
 * The decision log keeps its rows for a day (services/coordinator/recovery.ts), and is compared with these. What an
 * operator did stays in `forced_ends`.
 */
const retentionMs = 26 * 60 * 60 * 1_000;

/** Shorter than the decision log keeps its rows after their end: what is testified must still stand there. */
const testifiedMs = 23 * 60 * 60 * 1_000;
const testifiedMax = 1_000;

/** What is committed here: of the transactions asked about, and of all others the newest in the order of their ids. */
export async function committedBranches(
  pool: pg.Pool,
  { of, beganBefore }: CommittedQuestion,
  now: Date,
): Promise<CommittedBranch[]> {
  // An operator who asked for it may have been the one, and then it proves no decision.
  const columns = `transaction_id as "transactionId", order_ids::text[] as "orderIds", state = 'heuristic-commit' or exists (
    select from forced_ends f where f.transaction_id = branches.transaction_id and f.decision = 'commit') as forced`;
  const { rows } = await pool.query<CommittedBranch>({
    name: 'committed-branches',
    text: `(select ${columns} from branches
        where transaction_id < $2 and recorded_at > $3 and state in ('prepared', 'heuristic-commit')
        order by transaction_id desc limit $4)
      union
      select ${columns} from branches
        where transaction_id = any($1::uuid[]) and state in ('prepared', 'heuristic-commit')`,
    values: [of, beganBefore, new Date(now.getTime() - testifiedMs), testifiedMax],
  });
  return rows;
}

/** Forgets rows that no late command and no checker asks for any more, in small portions. */
export async function forgetBranches(pool: pg.Pool, now: Date, limit: number): Promise<void> {
  await pool.query(
    `delete from branches where transaction_id in (
       select transaction_id from branches where recorded_at < $1 limit $2)`,
    [new Date(now.getTime() - retentionMs), limit],
  );
}
