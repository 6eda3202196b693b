import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { isOutage } from '#libs/postgres/errors.ts';
import { createPool } from '#libs/postgres/pool.ts';
import type { Intent } from '#libs/step/transact.ts';
import { payment } from '#services/payment/service.ts';
import { type DrivenWorld, drive } from '../support/driver.ts';
import { eventually } from '../support/eventually.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let driven: DrivenWorld;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets');
  await world.query(`insert into wallets values ('asha', 1000)`);
  driven = drive(world, world.pool);
});
afterEach(() => driven.driver.stop());
afterAll(() => world[Symbol.asyncDispose]());

const charge = (orderId = randomUUID(), over: Partial<Intent> = {}, from = world) => {
  const items = [{ dishId: 'dosa', quantity: 1 }];
  return from.intent('order.placement.requested', { orderId, data: { city: 'pune', items, total: 1 } }, over);
};
const balance = async () =>
  (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;

describe('When many causes arrive at once', () => {
  test('then one transaction takes them all, and they end after their message is published', async () => {
    const ends = await Promise.all(driven.submit(Array.from({ length: 50 }, () => charge())));
    expect(ends.every(({ finished }) => finished)).toBe(true);
    expect(driven.batches).toEqual([50]);
    expect(driven.published.map(({ subject }) => subject)).toEqual(['payment.completed']);
    expect(await balance()).toBe(950);
  });

  test('then the same order twice makes two batches, and the second is a repeat', async () => {
    const intent = charge();
    const ends = await Promise.all(driven.submit([intent, charge(), { ...intent }]));
    expect(ends.map(({ verdict }) => verdict?.standing)).toEqual(['applied', 'applied', 'repeat']);
    expect(driven.batches).toEqual([2, 1]);
    expect(await balance()).toBe(998);
  });
});

describe('When one of fifty is poison', () => {
  test.each([0, 24, 49])('then at place %d it fails alone, and the others are committed', async (place) => {
    const sabotage = new Error('poison');
    const intents = Array.from({ length: 50 }, (_, index) =>
      charge(randomUUID(), index === place ? { sabotage } : {}),
    );
    const ends = await Promise.all(driven.submit(intents));
    expect(ends.filter(({ finished }) => finished)).toHaveLength(49);
    expect(ends[place]).toEqual({ verdict: undefined, finished: false, error: sabotage });
    expect(await balance()).toBe(951);
    const rows = await world.query('select 1 from journal');
    expect(rows).toHaveLength(49);
  });

  test('then all of them poison fail one by one, and the next batch goes through', async () => {
    const intents = Array.from({ length: 9 }, () => charge(randomUUID(), { sabotage: new Error('poison') }));
    const ends = await Promise.all(driven.submit(intents));
    expect(ends.every(({ error }) => (error as Error).message === 'poison')).toBe(true);
    const [next] = await Promise.all(driven.submit([charge()]));
    expect(next?.finished).toBe(true);
    expect(await balance()).toBe(999);
  });
});

describe('When the broker does not answer', () => {
  test('then what is committed is finished all the same, and left to the relay', async () => {
    const deaf = drive(world, world.pool, async () => {
      throw new Error('no answer');
    });
    const [end] = await Promise.all(deaf.submit([charge()]));
    expect(end).toMatchObject({ finished: true, verdict: { standing: 'applied' } });
    expect(deaf.troubles).toEqual([expect.stringMatching(/is left to the relay$/)]);
    expect(await world.query('select 1 from outbox where published_at is null')).toHaveLength(1);
    await deaf.driver.stop();
  });
});

describe('When the database goes away', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres(inject('infra'));
  });
  afterAll(() => server.remove());

  test('then messages wait for it, and people are told at once', async () => {
    await using away = await openWorld(server.adminUrl, payment, [
      `insert into wallets values ('asha', 1000)`,
    ]);
    const waiting = drive(away, away.pool);
    await Promise.all(waiting.submit([charge(randomUUID(), {}, away)]));
    await server.stop();

    const patient = waiting.submit(Array.from({ length: 5 }, () => charge(randomUUID(), {}, away)));
    const impatient = waiting.submit([charge(randomUUID(), {}, away), charge(randomUUID(), {}, away)], false);
    for (const end of await Promise.all(impatient)) {
      expect(end.finished).toBe(false);
      expect(isOutage(end.error), String(end.error)).toBe(true);
    }
    expect(waiting.troubles).toContain('waiting for the database');

    await server.start();
    const ends = await Promise.all(patient);
    expect(ends.map(({ error }) => error).filter((error) => error !== undefined)).toEqual([]);
    expect(ends.every(({ finished, verdict }) => finished && verdict?.standing === 'applied')).toBe(true);
    const [row] = await away.query<{ balance: number }>('select balance from wallets');
    expect(row?.balance).toBe(994);
    await waiting.driver.stop();
  });

  test('then a driver that is told to stop does not wait for it', async () => {
    await using away = await openWorld(server.adminUrl, payment);
    const waiting = drive(away, away.pool);
    await server.stop();
    const ends = waiting.submit([charge(randomUUID(), {}, away)]);
    await eventually('it waits', () => waiting.troubles.length > 0);
    await waiting.driver.stop();
    expect((await Promise.all(ends)).map(({ finished }) => finished)).toEqual([false]);
    await server.start();
  });
});

describe('When a backend is killed in the middle of a batch', () => {
  test('then the batch is tried again on another connection', async () => {
    const pool = createPool(world.pool.options.connectionString ?? '', {
      name: 'victim',
      purpose: 'steps',
      onError: () => {},
    });
    const survivor = drive(world, pool);
    // Holds the wallet, so that the batch is in its transaction when its backend dies.
    const holder = await world.pool.connect();
    await holder.query('begin');
    await holder.query('select 1 from wallets for update');
    const ends = survivor.submit(Array.from({ length: 3 }, () => charge()));
    await eventually('the batch waits for the wallet', async () => {
      const killed = await world.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'victim' and wait_event_type = 'Lock'`,
      );
      return killed.length === 1;
    });
    await holder.query('commit');
    holder.release();
    expect((await Promise.all(ends)).every(({ finished }) => finished)).toBe(true);
    expect(await balance()).toBe(997);
    await survivor.driver.stop();
    await pool.end();
  });
});
