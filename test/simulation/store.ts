/**
 * A service's database for a simulation. A whole interleaving runs inside one transaction and every transaction of
 * the service is a savepoint in it: commit releases it, a crash rolls back to it, and the end of the run takes
 * everything back, so that thousands of runs leave nothing to clean. See docs/decisions/0024.
 */
import pg from 'pg';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { statement } from '#libs/postgres/statement.ts';
import { openTransaction, type Transaction, type Tx } from '#libs/postgres/transaction.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import { setNow, simulatedNow } from './clock.ts';
import { genesisOf } from './genesis.ts';

export type Store = {
  /** Before a run. The statements, such as a mutant's triggers, are gone after it. */
  open(statements: readonly string[]): Promise<void>;
  /** One transaction of the service. What throws takes back all that it wrote. */
  commit<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** As the checker reads: `now()` is this time. */
  read<Row extends pg.QueryResultRow>(text: string, now: Date): Promise<Row[]>;
  /** After a run: nothing of it stays. */
  discard(): Promise<void>;
  end(): Promise<void>;
};

/** Rows of discarded runs are in the way of the next ones: PostgreSQL takes away what was inserted in vain only when asked. */
const vacuumEveryRuns = 100;

export async function openStore(adminUrl: string, database: string): Promise<Store> {
  const pool = createPool(urlOf(adminUrl, database), {
    name: 'a simulation',
    purpose: 'steps',
    connectionsMax: 1,
    onError: () => {},
  });
  let transaction: Transaction | undefined;
  let runs = 0;
  /** Prepared once: the checker asks the same again and again. */
  const reads = new Map<string, ReturnType<typeof statement>>();
  const opened = () => {
    if (!transaction) throw new Error(`no run is open on ${database}`);
    return transaction.tx;
  };

  return {
    async open(statements) {
      if (runs++ % vacuumEveryRuns === 0) await pool.query('vacuum');
      transaction = await openTransaction(pool);
      for (const statement of statements) await transaction.tx.send('', statement, []);
    },
    commit: (work) => asSavepoint(opened(), work),
    async read<Row extends pg.QueryResultRow>(text: string, now: Date) {
      const known = reads.get(text) ?? statement(text);
      reads.set(text, known);
      const tx = opened();
      const [, rows] = await Promise.all([setNow(tx, now), known(tx)]);
      return rows as Row[];
    },
    async discard() {
      await transaction?.rollback();
      transaction = undefined;
    },
    end: () => pool.end(),
  };
}

async function asSavepoint<T>(outer: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  const writes: Promise<unknown>[] = [];
  const write: Tx['write'] = (statement) => {
    statement.catch(() => {});
    writes.push(statement);
  };
  const tx = Object.assign(Object.create(outer), { write }) as Tx;
  // Travels with the first statement, as BEGIN does.
  write(outer.send('savepoint', 'savepoint a', []));
  try {
    const result = await work(tx);
    await Promise.all([outer.send('release', 'release savepoint a', []), ...writes]);
    return result;
  } catch (error) {
    await Promise.allSettled(writes);
    await outer.send('rollback-to', 'rollback to savepoint a', []);
    await outer.send('release', 'release savepoint a', []);
    throw error;
  }
}

/** A database with the service's own tables, the rows that every run begins with, and the simulated clock. */
export async function createDatabase(adminUrl: string, definition: ServiceDefinition, name: string) {
  await onServer(adminUrl, `create database ${name}`);
  const pool = createPool(urlOf(adminUrl, name), {
    name: 'a simulation',
    purpose: 'reads',
    onError: () => {},
  });
  await migrate(pool, definition.migrations);
  for (const statement of [...simulatedNow(name), ...genesisOf(definition.name)]) await pool.query(statement);
  await pool.end();
}

const urlOf = (adminUrl: string, database: string) => adminUrl.replace(/postgres$/, database);

async function onServer(adminUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
