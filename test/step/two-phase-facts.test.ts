/** What the checker reads of two-phase commit, from real databases: a coordinator's and one participant's four times. */
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { type Read, readBranches, readDue, readLog, readPrepared } from '#libs/checker/two-phase-facts.ts';
import { gidOf, type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';

const names = ['coordinator', ...participantNames] as const;
type Name = (typeof names)[number];

/** The real tables; `branches` is the same in every participant. */
const migrationsOf = (name: Name) => resolve(`services/${name}/migrations`);

const suffix = randomUUID().slice(0, 8);
const clients = new Map<Name, pg.Client>();
const urlOf = (name: string) => inject('adminUrl').replace(/postgres$/, `facts_${name}_${suffix}`);

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}
const run = async (name: Name, text: string, values: unknown[] = []) =>
  (await (clients.get(name) as pg.Client).query(text, values)).rows;
const readIn =
  (name: Name): Read =>
  async (text, values) =>
    (await run(name, text, values)) as never;

beforeAll(async () => {
  const admin = await connect(inject('adminUrl'));
  for (const name of names) await admin.query(`create database facts_${name}_${suffix}`);
  await admin.end();
  for (const name of names) {
    const pool = createPool(urlOf(name), { purpose: 'reads', name: 'a test', onError: () => {} });
    await migrate(pool, migrationsOf(name));
    await pool.end();
    clients.set(name, await connect(urlOf(name)));
  }
});
beforeEach(async () => {
  for (const name of participantNames) await run(name, 'truncate branches');
  await run('coordinator', 'truncate transactions, answers');
});
afterAll(async () => {
  for (const client of clients.values()) await client.end();
});

const begin = (
  transactionId: string,
  orderIds: string[],
  over: { decision?: string; decided?: string; ended?: string } = {},
) =>
  run(
    'coordinator',
    `insert into transactions values ($1, $2, $3, 'a coordinator', now() - interval '1 hour', $4,
       now() - $5::interval, now() - $6::interval)`,
    [
      transactionId,
      JSON.stringify(orderIds.map((orderId) => ({ orderId, traceparent: 't' }))),
      participantNames,
      over.decision ?? null,
      over.decided ?? null,
      over.ended ?? null,
    ],
  );
const enter = (name: ParticipantName, transactionId: string, state = 'prepared', orderIds: string[] = []) =>
  run(name, `insert into branches values ($1, $2, $3, now())`, [transactionId, state, orderIds]);

const coordinator = readIn('coordinator');
async function readAll() {
  const due = await readDue(coordinator);
  const log = await readLog(coordinator, due);
  return { due, log, branches: await readBranches(readIn, log) };
}
const transactionsOf = (log: Awaited<ReturnType<typeof readLog>>) => {
  if (typeof log === 'string') throw new Error(log);
  return log.transactions;
};

describe('When the log is read', () => {
  test('then commits that ended, or were decided too long ago, are due', async () => {
    const [ended, fresh, old, aborted, open] = Array.from({ length: 5 }, randomUUID) as [
      string,
      string,
      string,
      string,
      string,
    ];
    await begin(ended, [], { decision: 'commit', decided: '1 s', ended: '1 s' });
    await begin(fresh, [], { decision: 'commit', decided: '20 s' });
    await begin(old, [], { decision: 'commit', decided: '40 s' });
    await begin(aborted, [], { decision: 'abort', decided: '40 s', ended: '1 s' });
    await begin(open, []);
    const { due, log } = await readAll();
    expect([...due].sort()).toEqual([ended, old].sort());
    expect([...transactionsOf(log).values()].filter((one) => one.due)).toHaveLength(2);
    expect(transactionsOf(log).get(open)).toMatchObject({ decision: null, endedAgeMs: null, orderIds: [] });
  });

  test('then it names orders, participants and ages', async () => {
    const [transactionId, one, two] = [randomUUID(), randomUUID(), randomUUID()];
    await begin(transactionId, [one, two], { decision: 'commit', decided: '20 s', ended: '10 s' });
    const fact = transactionsOf((await readAll()).log).get(transactionId);
    expect(fact).toMatchObject({ orderIds: [one, two], participants: [...participantNames] });
    expect(Math.round((fact?.endedAgeMs ?? 0) / 1_000)).toBe(10);
    expect(Math.round((fact?.decidedAgeMs ?? 0) / 1_000)).toBe(20);
  });

  test('then it says why there is none', async () => {
    expect(await readLog(undefined, await readDue(undefined))).toContain('not configured');
    for (const table of ['answers', 'transactions']) {
      await run('coordinator', `alter table ${table} rename to hidden`);
      expect((await readAll()).log).toContain(`no table ${table}`);
      await run('coordinator', `alter table hidden rename to ${table}`);
    }
  });
});

describe('When branches are read', () => {
  test('then what agrees with the log is only a member of a set', async () => {
    const transactionId = randomUUID();
    await begin(transactionId, [], { decision: 'commit', decided: '1 s' });
    await enter('payment', transactionId);
    const { branches } = await readAll();
    expect(branches.payment).toEqual({ committed: new Set([transactionId]), odd: new Map() });
    expect(branches.order).toEqual({ committed: new Set(), odd: new Map() });
  });

  test('then a committed branch without a commit is told with its orders', async () => {
    const [unknown, aborted, open, orderId] = Array.from({ length: 4 }, randomUUID) as [
      string,
      string,
      string,
      string,
    ];
    await begin(aborted, [], { decision: 'abort', decided: '1 s' });
    await begin(open, []);
    for (const id of [unknown, aborted, open]) await enter('order', id, 'prepared', [orderId]);
    const { order } = (await readAll()).branches;
    expect([...order.odd.keys()].sort()).toEqual([unknown, aborted, open].sort());
    expect(order.odd.get(unknown)).toMatchObject({ state: 'prepared', orderIds: [orderId] });
  });

  test('then a commit that was aborted here is told, and everything that was forced', async () => {
    const [barred, forced, agreed, foreign] = Array.from({ length: 4 }, randomUUID) as [
      string,
      string,
      string,
      string,
    ];
    for (const id of [barred, forced, agreed]) await begin(id, [], { decision: 'commit', decided: '1 s' });
    await enter('logistics', barred, 'barred');
    await enter('logistics', forced, 'heuristic-abort');
    await enter('logistics', agreed, 'heuristic-commit');
    await enter('logistics', foreign, 'barred');
    const { logistics } = (await readAll()).branches;
    expect(logistics.committed).toEqual(new Set([agreed]));
    expect([...logistics.odd].map(([id, { state }]) => [id, state]).sort()).toEqual(
      [
        [barred, 'barred'],
        [forced, 'heuristic-abort'],
        [agreed, 'heuristic-commit'],
      ].sort(),
    );
  });

  test('then a database without the table has none', async () => {
    await enter('inventory', randomUUID());
    await run('inventory', 'alter table branches rename to hidden');
    expect((await readAll()).branches.inventory).toEqual({ committed: new Set(), odd: new Map() });
    await run('inventory', 'alter table hidden rename to branches');
  });
});

describe('When a branch stands prepared', () => {
  test('then it is invisible as a branch, and found by its gid; and the row appears with the commit', async () => {
    const transactionId = randomUUID();
    const gid = gidOf(transactionId, 'payment');
    await begin(transactionId, [], { decision: 'commit', decided: '1 s' });
    await run('payment', 'begin');
    await enter('payment', transactionId);
    await run('payment', `prepare transaction '${gid}'`);
    try {
      expect((await readAll()).branches.payment.committed.size).toBe(0);
      // The gid stands on the server: whoever asks there finds ours, from any of its databases.
      for (const name of ['payment', 'order'] as const) {
        const found = (await readPrepared(name, readIn(name))).find((one) => one.gid === gid);
        expect(found).toMatchObject({ service: name, gid, owner: 'postgres' });
        expect(found?.ageMs).toBeLessThan(5_000);
      }
    } finally {
      await run('payment', `commit prepared '${gid}'`);
    }
    expect((await readAll()).branches.payment.committed.has(transactionId)).toBe(true);
    const left = await readPrepared('payment', readIn('payment'));
    expect(left.map((one) => one.gid)).not.toContain(gid);
  });

  test("then somebody else's is found in our database only", async () => {
    const stray = `stray-${suffix}`;
    await run('payment', 'begin');
    await run('payment', `prepare transaction '${stray}'`);
    try {
      const gidsIn = async (name: Name) => (await readPrepared(name, readIn(name))).map(({ gid }) => gid);
      expect(await gidsIn('payment')).toContain(stray);
      expect(await gidsIn('order')).not.toContain(stray);
    } finally {
      await run('payment', `rollback prepared '${stray}'`);
    }
  });
});

describe('When there are a hundred thousand transactions', () => {
  test('then they are read within seconds', async () => {
    const bulk = `generate_series(1, 100000) n`;
    const id = `md5(n::text)::uuid`;
    await run(
      'coordinator',
      `insert into transactions select ${id}, jsonb_build_array(jsonb_build_object('orderId', ${id}, 'traceparent', repeat('a', 55))),
         '{order,payment,inventory,logistics}', '', now(), 'commit', now(), now() from ${bulk};
       insert into answers select ${id}, ${id}, 'done', null, null, '{"orderId":"…"}' from ${bulk}`,
    );
    for (const name of participantNames) {
      await run(name, `insert into branches select ${id}, 'prepared', array[${id}], now() from ${bulk}`);
    }
    const startedAt = performance.now();
    const { due, log, branches } = await readAll();
    process.stderr.write(
      `the checker read 100,000 transactions in ${Math.round(performance.now() - startedAt)} ms\n`,
    );
    expect(due.size).toBe(100_000);
    expect(transactionsOf(log).size).toBe(100_000);
    for (const name of participantNames) {
      expect(branches[name].committed.size).toBe(100_000);
      expect(branches[name].odd.size).toBe(0);
    }
  });
});
