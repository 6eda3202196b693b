import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { Flight } from '#libs/postgres/flight.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { isRepeat } from '#libs/step/journal.ts';
import { type Intent, transact } from '#libs/step/transact.ts';
import { notification } from '#services/notification/service.ts';
import { payment } from '#services/payment/service.ts';
import { drive } from '../support/driver.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets');
  await world.query(`insert into wallets values ('asha', 1000)`);
});
afterAll(() => world[Symbol.asyncDispose]());

const data = { city: 'pune', items: [{ dishId: 'dosa', quantity: 1 }], total: 1 };
const charge = (orderId: string = randomUUID()) =>
  world.intent('order.placement.requested', { orderId, data });
const balance = async () =>
  (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;
const presume = (...intents: Intent[]) =>
  runThenCommit(world.pool, (tx) => transact(tx, intents, world.tools, 'presumed'));

describe('When a step is presumed to come for the first time, and has run before', () => {
  test('then the transaction fails as a repeat, and leaves nothing behind', async () => {
    const before = charge();
    await world.run(before);
    const failure = await presume(charge(), before, charge()).catch((error) => error);
    expect(isRepeat(failure), String(failure)).toBe(true);
    expect(await balance()).toBe(999);
    expect(await world.query('select 1 from journal')).toHaveLength(1);
    expect(await world.query('select 1 from outbox')).toHaveLength(1);
  });

  test('then what stands twice in another table is no repeat', async () => {
    const intent = charge();
    await world.query(`insert into payments values ($1, 'asha', 1, 'charged')`, [intent.cause.orderId]);
    const failure = await presume(intent).catch((error) => error);
    expect(failure).toMatchObject({ code: '23505', table: 'payments' });
    expect(isRepeat(failure)).toBe(false);
  });

  test('then the driver looks, and all the others of its batch take effect once', async () => {
    const driven = drive(world, world.pool);
    const [old, barred] = [charge(), randomUUID()];
    await Promise.all(driven.submit([old]));
    await world.run(world.intent('inventory.failed', { orderId: barred, data: { reason: 'sold out' } }));
    const ends = await Promise.all(driven.submit([charge(), { ...old }, charge(barred), charge()]));
    expect(ends.map(({ verdict }) => verdict?.standing)).toEqual(['applied', 'repeat', 'repeat', 'applied']);
    expect(driven.batches).toEqual([1, 4]);
    expect(await balance()).toBe(997);
    await driven.driver.stop();
    expect(await world.query('select 1 from outbox where published_at is null')).toHaveLength(1);
  });
});

describe('When the first one of two is still open', () => {
  test.each(['commit', 'rollback'] as const)('then the second waits for its %s', async (ending) => {
    const intent = charge();
    const first = await world.pool.connect();
    await first.query('begin');
    const { orderId, id } = intent.cause;
    await first.query(
      `insert into journal (order_id, step, direction, outcome, lamport, causation_id, attempt, recorded_at)
       values ($1, 'payment.charge', 'do', 'done', 2, $2, 1, now())`,
      [orderId, id],
    );
    const second = presume(intent).then(
      () => 'applied',
      (error) => isRepeat(error) && 'repeat',
    );
    await eventually('it waits', async () => {
      const waits = await world.query(`select 1 from pg_stat_activity where wait_event_type = 'Lock'`);
      return waits.length > 0;
    });
    await first.query(ending);
    first.release();
    expect(await second).toBe(ending === 'commit' ? 'repeat' : 'applied');
  });
});

describe('When the steps of a batch read nothing', () => {
  test('then it is one flight, from its BEGIN to its COMMIT', async () => {
    await using told = await openWorld(inject('adminUrl'), notification);
    const pool = createPool(told.pool.options.connectionString ?? '', {
      name: 'counted',
      purpose: 'steps',
      onError: () => {},
    });
    const flights = countFlights(pool);
    const driven = drive(told, pool);
    const intents = Array.from({ length: 5 }, () =>
      told.intent('order.confirmed', { data: { city: 'pune' } }),
    );
    await Promise.all(driven.submit(intents));
    expect(flights()).toBe(1);
    expect(await told.query('select 1 from notifications')).toHaveLength(5);
    await driven.driver.stop();
    await pool.end();
  });
});

describe('When somebody else holds the journal entry of one of them', () => {
  test('then the others of its batch do not wait for it', async () => {
    await using told = await openWorld(inject('adminUrl'), notification);
    const driven = drive(told, told.pool);
    const [held, ...others] = Array.from({ length: 5 }, () =>
      told.intent('order.confirmed', { data: { city: 'pune' } }),
    );
    const holder = await told.pool.connect();
    await holder.query('begin');
    await holder.query(
      `insert into journal (order_id, step, direction, outcome, lamport, causation_id, attempt, recorded_at)
       values ($1, 'notification.notify-confirmed', 'do', 'done', 2, $1, 1, now())`,
      [held?.cause.orderId],
    );
    const submittedAt = performance.now();
    const [waits, ...ends] = driven.submit([held as Intent, ...others]);
    for (const { verdict } of await Promise.all(ends)) expect(verdict?.standing).toBe('applied');
    expect(performance.now() - submittedAt).toBeLessThan(2_000);
    await holder.query('commit');
    holder.release();
    expect((await waits)?.verdict?.standing).toBe('repeat');
    await driven.driver.stop();
  });
});

/** What leaves through connections that this pool opens from now on. */
function countFlights(pool: pg.Pool): () => number {
  let count = 0;
  pool.on('connect', (client) => {
    const query = client.query;
    const counted = (...args: unknown[]) => {
      if (args[0] instanceof Flight) count += 1;
      return Reflect.apply(query, client, args);
    };
    Object.assign(client, { query: counted });
  });
  return () => count;
}
