/**
 * A bound on all the lock waits of a transaction together. PostgreSQL's lock_timeout bounds each of them, but
 * a row that goes from hand to hand is waited for once for every hand, with other rows held meanwhile. Costs
 * a timer while all goes well; then one look, and only a transaction that really waits for a lock is ended.
 */
import type pg from 'pg';
import { openTransaction, type Tx } from '#libs/postgres/transaction.ts';

const queryCancelled = '57014';

/** `runThenCommit`, except that it fails as by a lock timeout when it waits for locks after `waitMs` or more. */
export async function runWithoutWaiting<T>(
  pool: pg.Pool,
  waitMs: number,
  work: (tx: Tx) => Promise<T>,
): Promise<T> {
  const transaction = await openTransaction(pool);
  let looking: Promise<boolean> | undefined;
  const watch = setInterval(() => {
    const before = looking;
    // On a busy machine it looks again before it has heard of the end that it made.
    looking = endLockWait(pool, transaction.pid).then(async (ended) => ended || (await before) === true);
  }, waitMs);
  /** Says whether it ended a wait. A cancellation on its way must not meet the connection's next transaction. */
  const endWatch = async () => {
    clearInterval(watch);
    return looking;
  };
  try {
    const result = await work(transaction.tx);
    // Only then: a batch that reads nothing is one flight from BEGIN to COMMIT, and all its waits lie in the commit.
    await transaction.commit(endWatch);
    return result;
  } catch (error) {
    const ended = await endWatch();
    await transaction.rollback();
    if (ended && (error as { code?: string }).code === queryCancelled) throw lockTimeout(error);
    throw error;
  }
}

async function endLockWait(pool: pg.Pool, pid: number): Promise<boolean> {
  const found = await pool
    .query(
      `select pg_cancel_backend(pid) from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
      [pid],
    )
    // Then its own lock timeout ends it.
    .catch(() => undefined);
  return (found?.rowCount ?? 0) > 0;
}

const lockTimeout = (cause: unknown) =>
  Object.assign(new Error('given up: it waited for locks for too long', { cause }), { code: '55P03' });
