/**
 * A transaction on one connection, ended by the caller's choice of ending. It is our own and not drizzle's
 * `db.transaction`, because that one cannot end in PREPARE TRANSACTION, does not look at the command tag of
 * COMMIT (a failed statement that somebody swallowed makes COMMIT a silent ROLLBACK) and leaks its
 * connection when BEGIN fails.
 */
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { joinFlight } from './flight.ts';

/** Drizzle over the one connection of an open transaction. Steps take this and never see its ending. */
export type Tx = NodePgDatabase & {
  $client: pg.PoolClient;
  /**
   * Takes a statement whose answer nobody needs before the end. It was sent when it was made, so it shares
   * a flight with the statements after it; the ending waits for it, and its failure fails the transaction.
   */
  write(statement: Promise<unknown>): void;
};

/** Runs `work` in a transaction and commits it. Whatever throws, inside or at COMMIT, rolls back. */
export async function runThenCommit<T>(pool: pg.Pool, work: (tx: Tx) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  const { tx, writes } = transactionOn(client);
  let broken: Error | undefined;
  try {
    // Not awaited: BEGIN leaves in one flight with the first statement. It can only fail with the connection.
    joinFlight(client);
    tx.write(client.query('begin'));
    const result = await work(tx);
    joinFlight(client);
    const [commit] = await Promise.all([client.query('commit'), ...writes]);
    if (commit.command !== 'COMMIT') throw new Error(`COMMIT was answered with ${commit.command}`);
    return result;
  } catch (error) {
    await Promise.allSettled(writes);
    await client.query('rollback').catch((cause: Error) => {
      broken = cause;
    });
    throw error;
  } finally {
    writes.length = 0;
    client.release(broken);
  }
}

type OnConnection = { tx: Tx; writes: Promise<unknown>[] };
const onConnection = new WeakMap<pg.PoolClient, OnConnection>();

/** Drizzle keeps no state per transaction, so one instance per connection serves all of them. */
function transactionOn(client: pg.PoolClient): OnConnection {
  let found = onConnection.get(client);
  if (!found) {
    const writes: Promise<unknown>[] = [];
    const write = (statement: Promise<unknown>) => {
      // Marks it as handled: it is awaited at the end, but may fail while the step is still reading.
      statement.catch(() => {});
      writes.push(statement);
    };
    found = { tx: Object.assign(drizzle(client, { casing: 'snake_case' }), { write }) as Tx, writes };
    onConnection.set(client, found);
  }
  return found;
}
