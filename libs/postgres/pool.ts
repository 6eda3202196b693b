/** Connection pools. Every wait that PostgreSQL could impose on us has a bound here. */
import pg from 'pg';

// bigint columns hold paise and counts that stay far below 2^53, so they travel as JavaScript numbers.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * How each purpose wants its statements planned. A step touches a bounded batch of rows by key, so an index
 * is always right; but its prepared statements are first planned on tables that are still empty, where a
 * sequential scan looks cheap, and keep that plan while the tables grow (measured: twice the CPU for the
 * first minutes of a fresh lab, until the first ANALYZE). The generic plan is right for the same reason, and
 * PostgreSQL would plan a statement over a short array anew every time: it guesses ten elements, so for fewer
 * the plan for these very values looks cheaper (measured: more time than the statement itself).
 *
 * What is looked for again and again, open orders and unpublished messages, is found in small indexes most of whose
 * entries are dead. An index scan marks those that it meets, for the next one to skip; a bitmap scan goes through all
 * of them each time (measured: 12 ms twice a second after 30,000 orders, and growing until the next vacuum).
 */
const marking = '-c enable_bitmapscan=off';
const planner = {
  steps: `${marking} -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c plan_cache_mode=force_generic_plan`,
  reads: marking,
} as const;

export type PoolOptions = {
  purpose: keyof typeof planner;
  /** Shown in pg_stat_activity. */
  name: string;
  connectionsMax?: number;
  lockTimeoutMs?: number;
  statementTimeoutMs?: number;
  /** For an answer, whatever the server does: one that is paused keeps no timeout of its own. */
  answerTimeoutMs?: number;
  /** Commits are not waited for on disk: for what may be forgotten in a crash. */
  unsynced?: boolean;
  onError: (error: Error) => void;
};

export function createPool(connectionString: string, options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    application_name: options.name,
    max: options.connectionsMax ?? 4,
    options: planner[options.purpose] + (options.unsynced ? ' -c synchronous_commit=off' : ''),
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: options.statementTimeoutMs ?? 15_000,
    lock_timeout: options.lockTimeoutMs ?? 5_000,
    idle_in_transaction_session_timeout: 30_000,
    ...(options.answerTimeoutMs ? { query_timeout: options.answerTimeoutMs } : {}),
  });
  // An idle connection that the server ends is reported here; the pool replaces it by itself.
  pool.on('error', options.onError);
  // One that is ended while it is in use tells whoever waits for its answer; it also emits an error, which
  // would end the process if nobody listened.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}
