/** The ends of branches in SQL: what is asked for in vain must cost no connection, because recovery asks again and again. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { gidOf } from '#libs/contracts/two-phase.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { openTransaction } from '#libs/postgres/transaction.ts';
import { branchState, enterBranch } from '#libs/step/branches.ts';
import { endBranch } from '#libs/step/inquiries.ts';
import { freshDatabase } from '../support/fresh-database.ts';

/** One connection: whoever ends it is found out. */
let pool: pg.Pool;
const lockTimeoutMs = 100;

beforeAll(async () => {
  const url = await freshDatabase('ends');
  const options = { name: 'ends', purpose: 'steps', onError: () => {}, lockTimeoutMs } as const;
  pool = createPool(url, { ...options, connectionsMax: 1 });
  const migrating = createPool(url, options);
  await migrate(migrating, 'services/payment/migrations');
  await migrating.end();
});
afterAll(() => pool.end());

const backend = async (): Promise<number> => (await pool.query('select pg_backend_pid() as pid')).rows[0].pid;
const end = (transactionId: string, decision: 'commit' | 'abort') =>
  endBranch(pool, 'payment', transactionId, decision, new Date());

test('Branches that are not there are aborted and committed in vain on one and the same connection', async () => {
  const pid = await backend();
  const [aborted, committed] = [randomUUID(), randomUUID()];
  expect([await end(aborted, 'abort'), await end(committed, 'commit')]).toEqual([false, false]);
  expect([await branchState(pool, aborted), await branchState(pool, committed)]).toEqual([
    'barred',
    undefined,
  ]);
  expect(await backend()).toBe(pid);
});

test('A bar that waits in vain for an open branch leaves the connection to the next end', async () => {
  const other = new pg.Client({ connectionString: pool.options.connectionString });
  await other.connect();
  const pid = await backend();
  const transactionId = randomUUID();
  await other.query('begin');
  await other.query(`insert into branches values ($1, 'prepared', '{}', now())`, [transactionId]);
  await expect(end(transactionId, 'abort')).rejects.toMatchObject({ code: '55P03' });
  expect(await backend()).toBe(pid);
  await other.query('rollback');
  await other.end();
  expect(await end(transactionId, 'abort')).toBe(false);
  expect(await branchState(pool, transactionId)).toBe('barred');
});

test.each([
  ['commit', 'prepared'],
  ['abort', 'barred'],
] as const)('What is prepared is ended by %s once', async (decision, state) => {
  const transactionId = randomUUID();
  const transaction = await openTransaction(pool);
  await enterBranch(transaction.tx, transactionId, [], new Date());
  await transaction.prepare(gidOf(transactionId, 'payment'));
  expect([await end(transactionId, decision), await end(transactionId, decision)]).toEqual([true, false]);
  expect(await branchState(pool, transactionId)).toBe(state);
});
