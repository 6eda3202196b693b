/** A server that has done what it was asked, and whose answer never arrives: nothing breaks, and nobody says so. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Link, openLink } from '#lab/links/link.ts';
import { isOutage } from '#libs/postgres/errors.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { freePort } from '../support/free-port.ts';

const answerMsMax = 500;
const table = `lost_${process.pid}`;
let link: Link;
let pool: ReturnType<typeof createPool>;

beforeAll(async () => {
  const url = new URL(inject('adminUrl'));
  const port = await freePort();
  link = await openLink({ client: 'test', server: 'db', port, target: Number(url.port) });
  url.host = `127.0.0.1:${port}`;
  pool = createPool(url.href, {
    ...{ name: 'a test', purpose: 'steps', connectionsMax: 1, answerTimeoutMs: answerMsMax },
    onError: () => {},
  });
  await pool.query(`create table ${table} (id int primary key)`);
});

afterAll(async () => {
  link.set({ mode: 'pass' });
  await pool.query(`drop table ${table}`);
  await pool.end();
  await link.close();
});

const insert = (id: number) =>
  runThenCommit(pool, async (tx) => {
    tx.write(tx.send('', `insert into ${table} values ($1)`, [id]));
  });
const ids = async () => (await pool.query(`select id from ${table} order by id`)).rows.map(({ id }) => id);

test('A COMMIT whose answer is lost ends in time as an outage, and its connection with it', async () => {
  await insert(1);
  link.set({ mode: 'drop-answers', after: 'commit', times: 1, end: 'silence' });
  const startedMs = performance.now();
  const error = await insert(2).catch((failure) => failure);
  expect({ isOutage: isOutage(error), message: error.message }).toEqual({
    isOutage: true,
    message: 'Query read timeout',
  });
  // Once, not a second time for the ROLLBACK behind it.
  expect(performance.now() - startedMs).toBeLessThan(2 * answerMsMax);
  expect(link.state().hits).toBe(1);
  // The only connection of the pool is another one by now, and what was asked for has been done.
  expect(await ids()).toEqual([1, 2]);
  await insert(3);
});

test('One that is answered leaves nothing behind that would end a later one', async () => {
  await insert(4);
  await new Promise((resolve) => setTimeout(resolve, answerMsMax / 2));
  const sleeping = runThenCommit(pool, async (tx) => {
    await tx.send('', `select pg_sleep(${(0.8 * answerMsMax) / 1_000})`, []);
    await tx.send('', `insert into ${table} values (5)`, []);
  });
  await sleeping;
  expect(await ids()).toContain(5);
});
