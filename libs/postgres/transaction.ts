/**
 * A transaction on one connection, ended by the caller's choice of ending. It is our own and not drizzle's
 * `db.transaction`, because that one cannot end in PREPARE TRANSACTION, does not look at the command tag of
 * COMMIT (a failed statement that somebody swallowed makes COMMIT a silent ROLLBACK) and leaks its
 * connection when BEGIN fails.
 */
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import pg from 'pg';
import { Flight, type FlightResult, type FlightStatement } from './flight.ts';

/** Drizzle over the one connection of an open transaction. Steps take this and never see its ending. */
export type Tx = NodePgDatabase & {
  /** Sends a prepared statement. All that is sent in one turn of the event loop travels as one flight. */
  send(name: string, text: string, values: readonly unknown[]): Promise<FlightResult>;
  /**
   * Takes a statement whose answer nobody needs before the end: it shares a flight with the ones after it.
   * The ending waits for it, and its failure fails the transaction.
   */
  write(statement: Promise<unknown>): void;
};

/** Runs `work` in a transaction and commits it. Whatever throws, inside or at COMMIT, rolls back. */
export async function runThenCommit<T>(pool: pg.Pool, work: (tx: Tx) => Promise<T>): Promise<T> {
  const transaction = await openTransaction(pool);
  try {
    const result = await work(transaction.tx);
    await transaction.commit();
    return result;
  } catch (error) {
    await transaction.rollback();
    throw error;
  }
}

/** An open transaction and its three possible ends. After an end that throws, `rollback` is still to be called. */
export type Transaction = {
  tx: Tx;
  /** The server's process behind this connection, as pg_locks names it. */
  pid: number;
  /** `beforeRelease` is waited for after the server's answer, and before anybody else gets the connection. */
  commit(beforeRelease?: () => Promise<unknown>): Promise<void>;
  /** PREPARE TRANSACTION: it survives this session and waits, with its locks, for COMMIT PREPARED. */
  prepare(gid: string): Promise<void>;
  /** Never rejects; does nothing after another end. */
  rollback(): Promise<void>;
};

export async function openTransaction(pool: pg.Pool): Promise<Transaction> {
  const client = await pool.connect();
  const { tx, writes } = transactionOn(client);
  let open = true;

  const release = (broken?: Error) => {
    open = false;
    writes.length = 0;
    client.release(broken);
  };

  /** The command tag is the vote: an aborted transaction answers COMMIT and PREPARE with ROLLBACK, not with an error. */
  const endWith = async (name: string, text: string, tag: string, beforeRelease?: () => Promise<unknown>) => {
    const [end] = await Promise.all([tx.send(name, text, []), ...writes]);
    await beforeRelease?.();
    if (end.command !== tag) throw new Error(`${tag} was answered with ${end.command}`);
    release();
  };

  // Not awaited: BEGIN leaves in one flight with the first statement, which fails with it.
  tx.write(tx.send('begin', 'begin', []));
  return {
    tx,
    pid: (client as { processID?: number }).processID ?? 0,
    commit: (beforeRelease) => endWith('commit', 'commit', 'COMMIT', beforeRelease),
    // Unnamed, because every gid makes another text.
    prepare: (gid) => endWith('', `prepare transaction ${pg.escapeLiteral(gid)}`, 'PREPARE'),
    async rollback() {
      if (!open) return;
      open = false;
      await Promise.allSettled(writes);
      let broken: Error | undefined;
      await client.query('rollback').catch((cause: Error) => {
        broken = cause;
      });
      release(broken);
    },
  };
}

type OnConnection = { tx: Tx; writes: Promise<unknown>[] };
const onConnection = new WeakMap<pg.PoolClient, OnConnection>();

/** One per connection: it is empty again when its transaction has ended. */
function transactionOn(client: pg.PoolClient): OnConnection {
  let found = onConnection.get(client);
  if (!found) {
    found = createOnConnection(client);
    onConnection.set(client, found);
  }
  return found;
}

function createOnConnection(client: pg.PoolClient): OnConnection {
  const writes: Promise<unknown>[] = [];
  let gathered: FlightStatement[] = [];

  const depart = () => {
    if (gathered.length === 0) return;
    client.query(new Flight(gathered) as unknown as pg.Submittable);
    gathered = [];
  };

  const send: Tx['send'] = (name, text, values) =>
    new Promise((resolve, reject) => {
      // After all that follows without waiting for an answer: it joins this flight.
      if (gathered.length === 0) process.nextTick(depart);
      gathered.push({ name, text, values, resolve, reject });
    });

  const write: Tx['write'] = (statement) => {
    // Marks it as handled: it is awaited at the end, but may fail while the step is still reading.
    statement.catch(() => {});
    writes.push(statement);
  };

  // Drizzle sends at once: what was gathered before must leave before it.
  const query = (...args: unknown[]) => {
    depart();
    return Reflect.apply(client.query, client, args);
  };
  const db = drizzle({ query } as unknown as pg.PoolClient, { casing: 'snake_case' });
  return { tx: Object.assign(db, { send, write }) as Tx, writes };
}
