/** What is asked of an outbox all day must cost the same when it holds a day's messages. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import { newestOf, returnHoles, returnRange } from '#libs/step/forgotten.ts';
import { forgetPublished } from '#libs/step/outbox.ts';
import { payment } from '#services/payment/service.ts';
import { openWorld, type World } from '../support/world.ts';

const rows = 200_000;
let world: World;
/** One connection, so that it has counted all that it read. */
let pool: pg.Pool;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
  pool = new pg.Pool({ ...world.pool.options, max: 1 });
  // One every 0.47 s of the last 26 hours, under sequences from 1 on.
  await world.query(
    `insert into outbox
     select gen_random_uuid(), (array['payment.completed', 'payment.failed', 'payment.refunded'])[1 + n % 3], 1, '[]',
       now() - interval '26 hours' * (1 - n / $1::float8), now() - interval '26 hours' * (1 - n / $1::float8), n
     from generate_series(1, $1) as n`,
    [rows],
  );
  await world.query('analyze outbox');
});
afterAll(async () => {
  await pool?.end();
  await world?.[Symbol.asyncDispose]();
});

/** Rows of the outbox that were read one after another, without an index. */
async function readInSequence(): Promise<number> {
  await pool.query('select pg_stat_force_next_flush()');
  const { rows: found } = await pool.query<{ read: number }>(
    `select seq_tup_read as read from pg_stat_user_tables where relname = 'outbox'`,
  );
  return Number(found[0]?.read);
}

const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000);
const subjects = ['payment.completed', 'payment.failed', 'payment.refunded'];
const tail = { subject: 'payment.completed', after: rows - 300, upTo: rows };
/** More often than the server plans anew for the values of a prepared statement. */
const runs = 8;

describe('In an outbox of 200,000 rows, nothing is read but by an index', () => {
  test.each<{ what: string; work(tx: Tx): Promise<unknown>; first: unknown }>([
    { what: 'forgetting, a round of it', work: (tx) => forgetPublished(tx, hoursAgo(25), 500), first: 500 },
    {
      what: 'forgetting, with nothing to forget',
      work: (tx) => forgetPublished(tx, hoursAgo(30), 500),
      first: 0,
    },
    {
      what: 'comparing it with the stream',
      work: async (tx) =>
        (await newestOf(tx, subjects, rows / 2, hoursAgo(23))).map(({ last }) => last).sort(),
      first: [rows - 2, rows - 1, rows],
    },
    {
      what: 'taking a tail back',
      work: async (tx) => (await returnRange(tx, tail, hoursAgo(23), 1_000)).length,
      first: 100,
    },
    {
      what: 'taking holes back',
      work: async (tx) => (await returnHoles(tx, subjects, [rows - 600], hoursAgo(23), 1_000)).length,
      first: 1,
    },
  ])('by $what', async ({ work, first }) => {
    const before = await readInSequence();
    const results: unknown[] = [];
    for (let run = 0; run < runs; run++) results.push(await runThenCommit(pool, work));
    expect(results[0]).toEqual(first);
    expect(await readInSequence()).toBe(before);
  });

  test('and without one it would show', async () => {
    const before = await readInSequence();
    await pool.query('select count(*) from outbox where events = 7');
    expect((await readInSequence()) - before).toBeGreaterThan(rows / 2);
  });
});
