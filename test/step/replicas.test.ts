/** Two replicas of a participant on one database: what one has prepared, the other one ends. And two that start at once. */
import { randomUUID, randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import { describe, expect, inject, test } from 'vitest';
import type { Decision } from '#libs/contracts/two-phase.ts';
import { noFaults } from '#libs/faults/injector.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { createBranchEnds } from '#libs/step/branch-ends.ts';
import { createParticipant } from '#libs/step/participant.ts';
import { type TraceBatch, traceNothing } from '#libs/telemetry/batch-trace.ts';
import { payment } from '#services/payment/service.ts';
import { openWorld, type World } from '../support/world.ts';

const seed = [`insert into wallets (customer_id, balance) values ('asha', 100000)`];
const minuteMs = 60_000;

/** One replica: its own memory and its own publisher, on the database of all. Its clock can be put on. */
function replicaOn({ pool }: World) {
  const published: string[] = [];
  const spans = { published: 0, discarded: 0 };
  let aheadMs = 0;
  const now = () => new Date(Date.now() + aheadMs);
  const traceBatch: TraceBatch = (service, intents) => ({
    ...traceNothing(service, intents),
    published: () => void spans.published++,
    discarded: () => void spans.discarded++,
  });
  const participant = createParticipant({
    service: 'payment',
    participation: payment.participation ?? [],
    pool,
    injector: noFaults,
    traceBatch,
    now,
    onVerdicts: () => {},
    onTrouble: () => {},
  });
  const publisher = {
    publish: async (messages: readonly { messageId: string }[], told?: () => void) => {
      published.push(...messages.map(({ messageId }) => messageId));
      told?.();
    },
    markPublished: () => {},
    distrust: () => {},
    losses: () => 0,
    isOurs: () => false,
    stop: async () => {},
  };
  const shared = { service: 'payment', participant, pool, publisher, injector: noFaults, now } as const;
  const ends = createBranchEnds({ ...shared, onReleased: () => {} });
  const later = (ms: number) => {
    aheadMs = ms;
  };
  return { participant, ends, published, spans, later };
}

async function twoReplicas() {
  const world = await openWorld(inject('adminUrl'), payment, seed);
  const [one, other] = [replicaOn(world), replicaOn(world)];
  const transactionId = randomUUIDv7();
  const orderId = randomUUIDv7();
  const order = {
    ...{ orderId, commandId: randomUUIDv7(), attempt: 1, customerId: 'asha', city: 'bengaluru', total: 100 },
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
    items: [{ dishId: 'masala-dosa', quantity: 1 }],
    ...{ bodyHash: null, createdAt: new Date().toISOString() },
  };
  const command = { transactionId, orders: [order], thenPrepare: true };
  const balance = async () =>
    (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;
  return { world, one, other, transactionId, command, balance };
}

describe('When another replica ends what this one prepared', () => {
  test.each<[Decision, number, object]>([
    ['commit', 99_900, { published: 1, discarded: 0 }],
    ['abort', 100_000, { published: 0, discarded: 1 }],
  ])('by %s, then it is so, and this one forgets it after a while', async (decision, balance, spans) => {
    const all = await twoReplicas();
    await using world = all.world;
    const { one, other, transactionId, command } = all;
    expect(await one.participant.perform(command)).toMatchObject({ vote: 'yes' });
    expect(await other.ends[decision](transactionId)).toEqual({ transactionId, state: 'ended' });
    expect(await all.balance()).toBe(balance);
    expect(await world.query('select from pg_prepared_xacts where database = current_database()')).toEqual(
      [],
    );
    // It may be told itself at any moment.
    await one.ends.forgetEndedElsewhere();
    expect(one.participant.find(transactionId)).toBeDefined();
    one.later(minuteMs);
    await one.ends.forgetEndedElsewhere();
    expect(one.participant.find(transactionId)).toBeUndefined();
    expect(one.spans).toEqual(spans);
    // What it had to say is the relay's.
    expect([...one.published, ...other.published]).toEqual([]);
    // Told late, it says the same, and nothing is told twice.
    expect(await one.ends[decision](transactionId)).toEqual({ transactionId, state: 'ended' });
    expect(one.spans).toEqual(spans);
  });

  test('or nobody has ended it yet, then it stays, however long that takes', async () => {
    const all = await twoReplicas();
    await using _world = all.world;
    const { one, transactionId, command } = all;
    await one.participant.perform(command);
    one.later(minuteMs);
    await one.ends.forgetEndedElsewhere();
    expect(one.participant.find(transactionId)).toBeDefined();
    expect(await one.ends.commit(transactionId)).toMatchObject({ state: 'ended' });
    expect(one.participant.find(transactionId)).toBeUndefined();
    expect(one.spans).toEqual({ published: 1, discarded: 0 });
  });

  test('and an operator forces it at the other one, then this one forgets it as well', async () => {
    const all = await twoReplicas();
    await using world = all.world;
    const { one, other, transactionId, command } = all;
    await one.participant.perform(command);
    expect(await other.ends.force(transactionId, 'commit')).toBe('ended');
    one.later(minuteMs);
    await one.ends.forgetEndedElsewhere();
    expect(one.participant.find(transactionId)).toBeUndefined();
    expect(one.spans).toEqual({ published: 1, discarded: 0 });
    expect(await world.query('select state from branches')).toEqual([{ state: 'heuristic-commit' }]);
  });
});

test('A branch that is open in one replica is not prepared, and not barred, by another', async () => {
  const all = await twoReplicas();
  await using world = all.world;
  const { one, other, transactionId, command } = all;
  await one.participant.perform({ ...command, thenPrepare: false });
  expect(await other.participant.prepare({ transactionId, undo: [] })).toMatchObject({
    vote: 'no',
    retry: true,
  });
  // The bar waits for the open one, and gives up before it: whoever wanted it ended asks again.
  await expect(
    world.pool.query(
      `set lock_timeout = 200; insert into branches values ('${transactionId}', 'barred', '{}', now())`,
    ),
  ).rejects.toThrow('lock timeout');
  expect(await one.participant.prepare({ transactionId, undo: [] })).toMatchObject({ vote: 'yes' });
  expect(await other.ends.abort(transactionId)).toMatchObject({ state: 'ended' });
  expect(await all.balance()).toBe(100_000);
});

test('Replicas that start at once on an empty database fill it once, one after the other', async () => {
  const database = `payment_${randomUUID().slice(0, 8)}`;
  const admin = new pg.Client({ connectionString: inject('adminUrl') });
  await admin.connect();
  await admin.query(`create database ${database}`);
  await admin.end();
  const pools = Array.from({ length: 4 }, () =>
    createPool(inject('adminUrl').replace(/postgres$/, database), {
      name: 'a replica',
      purpose: 'steps',
      // Waiting for one's turn may take longer than a step may wait for a row.
      lockTimeoutMs: 100,
      onError: () => {},
    }),
  );
  const under: number[] = [];
  let filling = 0;
  const started = pools.map((pool) =>
    migrate(pool, payment.migrations, async () => {
      filling += 1;
      under.push(filling);
      await runThenCommit(pool, payment.seed);
      await new Promise((resolve) => setTimeout(resolve, 150));
      filling -= 1;
    }),
  );
  await Promise.all(started);
  expect(under).toEqual([1, 1, 1, 1]);
  const [pool] = pools;
  expect((await pool?.query('select count(*)::int as wallets from wallets'))?.rows).toEqual([
    { wallets: 1_000 },
  ]);
  expect((await pool?.query('show lock_timeout'))?.rows).toEqual([{ lock_timeout: '100ms' }]);
  await Promise.all(pools.map((each) => each.end()));
});
