/** Rows that a prepared transaction holds: who needs them waits, and nobody else does. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { noFaults } from '#libs/faults/injector.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createOutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { createSagaDriver, type SagaDriver } from '#libs/step/saga-driver.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import { traceNothing } from '#libs/telemetry/batch-trace.ts';
import { inventory } from '#services/inventory/service.ts';
import { payment } from '#services/payment/service.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

const mainLockMs = 100;
const lanesMax = 3;

type End = { verdict?: Verdict | undefined; finished: boolean; error?: unknown; ms: number };
type Driven = {
  driver: SagaDriver;
  /** Events as they were sent, by order. */
  sent: string[];
  troubles: string[];
  submit(intents: readonly Intent[], patient?: boolean): Promise<End>[];
};

let wallets: World;
let dishes: World;
let world: World;
let driven: Driven;
const pools: pg.Pool[] = [];

beforeAll(async () => {
  wallets = await openWorld(inject('adminUrl'), payment);
  dishes = await openWorld(inject('adminUrl'), inventory);
});
afterAll(async () => {
  await wallets[Symbol.asyncDispose]();
  await dishes[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await wallets.query('truncate journal, outbox, payments, wallets');
  await wallets.query(`insert into wallets select 'customer-' || n, 1000 from generate_series(0, 9) as n`);
  await dishes.query('truncate journal, outbox, reservations, stock');
  await dishes.query(
    `insert into stock select dish, dish, 1, 1000, 0 from unnest(array['dosa', 'idli', 'vada']) as dish`,
  );
  world = wallets;
  driven = driveWithLanes(wallets);
});
afterEach(async () => {
  for (const each of [wallets, dishes]) {
    const left = await each.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    for (const { gid } of left) await each.query(`rollback prepared '${gid}'`);
  }
  await driven.driver.stop();
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});

function driveWithLanes(of: World): Driven {
  const open = (name: string, over: object) => {
    const connectionString = of.pool.options.connectionString ?? '';
    const pool = createPool(connectionString, { name, purpose: 'steps', onError: () => {}, ...over });
    pools.push(pool);
    return pool;
  };
  const pool = open('main', { lockTimeoutMs: mainLockMs });
  const lanePool = open('lane', { connectionsMax: lanesMax });
  const sent: string[] = [];
  const troubles: string[] = [];
  const onTrouble = (_error: unknown, what: string) => troubles.push(what);
  const now = () => new Date();
  const publish = async ({ body }: { body: string }) => {
    for (const { type, subject } of JSON.parse(body)) sent.push(`${type} ${subject}`);
  };
  const driver = createSagaDriver({
    service: of.definition.name,
    pool,
    lanePool,
    publisher: createOutboxPublisher({ pool, now, onTrouble, publish }),
    injector: noFaults,
    reach: undefined,
    traceBatch: traceNothing,
    now,
    newId: randomUUID,
    onTrouble,
    onBatch: () => {},
  });
  return {
    driver,
    sent,
    troubles,
    submit(intents, patient = true) {
      const startedAt = performance.now();
      const waits = intents.map((intent) => {
        const { promise, resolve } = Promise.withResolvers<End>();
        let verdict: Verdict | undefined;
        const end = (finished: boolean, error?: unknown) =>
          resolve({ verdict, finished, error, ms: performance.now() - startedAt });
        const committed = (found: Verdict) => {
          verdict = found;
        };
        const item = {
          intent,
          patient,
          committed,
          finished: () => end(true),
          failed: (error: unknown) => end(false, error),
        };
        return { item, promise };
      });
      driver.submit(waits.map(({ item }) => item));
      return waits.map(({ promise }) => promise);
    },
  };
}

/** A real prepared transaction that has done this; gives how to end it. */
async function hold(statement: string): Promise<(verb: 'commit' | 'rollback') => Promise<unknown>> {
  const gid = `2pc:${randomUUID()}:test`;
  const client = await world.pool.connect();
  await client.query('begin');
  await client.query(statement);
  await client.query(`prepare transaction '${gid}'`);
  client.release();
  return (verb) => world.query(`${verb} prepared '${gid}'`);
}
const holdWallet = (index: number, debit = 100) =>
  hold(`update wallets set balance = balance - ${debit} where customer_id = 'customer-${index}'`);
const holdStock = (dish: string) => hold(`update stock set free = free - 1 where dish_id = '${dish}'`);

const charge = (customer: number, over: { orderId?: string; sabotage?: Error } = {}) => {
  const { orderId = randomUUID(), ...rest } = over;
  const items = [{ dishId: 'dosa', quantity: 1 }];
  const cause = { orderId, customerId: `customer-${customer}`, data: { city: 'pune', items, total: 1 } };
  return wallets.intent('order.placement.requested', cause, rest);
};
const refund = (customer: number, orderId: string) => {
  const cause = { orderId, customerId: `customer-${customer}`, lamport: 3, data: { reason: 'no' } };
  return wallets.intent('inventory.failed', cause);
};
const reserve = (...dishIds: string[]) => {
  const items = dishIds.map((dishId) => ({ dishId, quantity: 1 }));
  return dishes.intent('payment.completed', { dishIds: dishIds.join(','), data: { items } });
};
const balance = async (customer: number) => {
  const text = 'select balance from wallets where customer_id = $1';
  return (await world.query<{ balance: number }>(text, [`customer-${customer}`]))[0]?.balance;
};
const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
const all = (ends: Promise<End>[]) => Promise.all(ends);
const applied = { finished: true, verdict: { standing: 'applied' } };
/** How many of these have ended by now. */
async function ended(ends: Promise<End>[]): Promise<number> {
  const nothing = Symbol();
  const found = await Promise.all(ends.map((end) => Promise.race([end, Promise.resolve(nothing)])));
  return found.filter((one) => one !== nothing).length;
}
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const waitingInDatabase = async () => {
  const text = `select count(*)::int as count from pg_stat_activity
                where datname = current_database() and application_name = 'lane' and wait_event_type = 'Lock'`;
  return (await world.query<{ count: number }>(text))[0]?.count ?? 0;
};

describe('When a prepared transaction holds a wallet', () => {
  test('then the others of its batch are through within a second, and it waits in the database', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    const mixed = driven.submit([
      ...times(40, () => charge(1)),
      charge(0),
      ...times(40, () => charge(2)),
      charge(0),
    ]);
    const others = await all(mixed.filter((_, index) => index !== 40 && index !== 81));
    for (const one of others) {
      expect(one).toMatchObject(applied);
      expect(one.ms).toBeLessThan(1_000);
    }
    expect(await ended([...held, ...mixed])).toBe(80);
    expect(driven.driver.waitingForRows()).toBe(3);
    await eventually('it waits inside PostgreSQL', async () => (await waitingInDatabase()) === 1);
    await end('commit');
    for (const one of await all([...held, ...mixed])) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 3);
  });

  test('then what comes later for others does not pay for it, and what comes for it waits in line', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    let slowest = 0;
    for (let round = 0; round < 40; round++) {
      held.push(...driven.submit([charge(0)]));
      const [other] = await all(driven.submit([charge(1 + (round % 9))]));
      slowest = Math.max(slowest, other?.ms ?? 0);
    }
    expect(slowest).toBeLessThan(mainLockMs);
    expect(await ended(held)).toBe(0);
    expect(driven.sent).toHaveLength(40);
    await end('rollback');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 41);
    expect(driven.sent).toHaveLength(81);
    expect(new Set(driven.sent).size).toBe(81);
    const entries = await world.query<{ attempt: number }>('select attempt from journal');
    expect(entries).toHaveLength(81);
    expect(entries.every(({ attempt }) => attempt === 1)).toBe(true);
  });

  test('then afterwards everything is as it was', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    await end('commit');
    await all(held);
    const lastTurn = async () => {
      const text = `select max(state_change)::text as at from pg_stat_activity
                    where datname = current_database() and application_name = 'lane'`;
      return (await world.query<{ at: string }>(text))[0]?.at;
    };
    await eventually('no lane takes a turn any more', async () => {
      const before = await lastTurn();
      await sleep(100);
      return (await lastTurn()) === before;
    });
    const [after] = await all(driven.submit([charge(0)]));
    expect(after).toMatchObject(applied);
    expect(after?.ms).toBeLessThan(mainLockMs);
    expect(driven.troubles).toEqual([]);
  });

  test('then it waits for as long as it takes, longer than any one wait', async () => {
    const end = await holdWallet(0);
    const held = driven.submit(times(5, () => charge(0)));
    await sleep(11_000);
    expect(await ended(held)).toBe(0);
    expect(driven.troubles).toContain('5 wait for wallets/customer-0, which another transaction holds');
    await end('commit');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 5);
  });

  test('then a person is told within two seconds, and nothing happens later', async () => {
    const end = await holdWallet(0);
    const [patient] = driven.submit([charge(0)]);
    const people = await all(driven.submit([charge(0), charge(0)], false));
    for (const one of people) {
      expect(one).toMatchObject({ finished: false, error: { code: '55P03' } });
      expect(one.ms).toBeLessThan(2_000);
    }
    await end('commit');
    expect(await patient).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 1);
  });

  test('then an undo waits as well, and others go on', async () => {
    const orderId = randomUUID();
    await all(driven.submit([charge(0, { orderId }), charge(1)]));
    const end = await holdWallet(0);
    const undo = driven.submit([refund(0, orderId)]);
    for (const one of await all(driven.submit(times(20, () => charge(1)))))
      expect(one.ms).toBeLessThan(1_000);
    expect(await ended(undo)).toBe(0);
    await end('rollback');
    expect((await all(undo))[0]).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000);
  });

  test('then what comes later for the same order stays behind it', async () => {
    const orderId = randomUUID();
    const end = await holdWallet(0);
    const first = driven.submit([charge(0, { orderId })]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    // As if it needed nothing that is held: it goes behind all the same, because it is the same order.
    const second = driven.submit([refund(1, orderId)]);
    await sleep(300);
    await end('commit');
    expect((await all(first))[0]).toMatchObject(applied);
    expect((await all(second))[0]).toMatchObject(applied);
    expect(driven.sent).toEqual([`payment.completed ${orderId}`, `payment.refunded ${orderId}`]);
    expect(await balance(0)).toBe(900);
  });

  test('then one poison item among those that wait fails alone', async () => {
    const sabotage = new Error('poison');
    const end = await holdWallet(0);
    const held = driven.submit(times(9, () => charge(0)));
    await eventually('they are set aside', () => driven.driver.waitingForRows() === 9);
    const [poison] = driven.submit([charge(0, { sabotage })]);
    const later = driven.submit(times(9, () => charge(0)));
    await eventually('all are set aside', () => driven.driver.waitingForRows() === 19);
    await end('commit');
    expect(await poison).toMatchObject({ finished: false, error: sabotage });
    for (const one of await all([...held, ...later])) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(900 - 18);
  });

  test('then a driver that is told to stop stops at once', async () => {
    await holdWallet(0);
    await holdWallet(1);
    const held = driven.submit([charge(0), charge(1), charge(1)]);
    await eventually('both are waited for', async () => (await waitingInDatabase()) === 2);
    const startedAt = performance.now();
    await driven.driver.stop();
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    for (const one of await all(held))
      expect(one).toMatchObject({ finished: false, error: { code: '55P03' } });
    expect(await waitingInDatabase()).toBe(0);
  });

  test('then the backend that waits may be killed', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('the waiting one is killed', async () => {
      const killed = await world.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'lane' and wait_event_type = 'Lock'`,
      );
      return killed.length === 1;
    });
    await end('commit');
    expect((await all(held))[0]).toMatchObject(applied);
  });
});

describe('When more wallets are held than there are lanes', () => {
  test('then each goes on soon after it is free, whichever that is', async () => {
    const ends = [];
    for (let index = 0; index < 8; index++) ends.push(await holdWallet(index));
    const held = ends.map((_, index) => driven.submit([charge(index)]));
    const [free] = await all(driven.submit([charge(9)]));
    expect(free?.ms).toBeLessThan(1_000);
    for (const index of [7, 0, 4]) {
      await ends[index]?.('commit');
      const freedAt = performance.now();
      expect((await all(held[index] ?? []))[0]).toMatchObject(applied);
      expect(performance.now() - freedAt).toBeLessThan(1_000);
      expect(await balance(index)).toBe(899);
    }
    expect(await ended(held.flat())).toBe(3);
  });
});

describe('When an order needs two dishes', () => {
  beforeEach(() => {
    world = dishes;
    driven = driveWithLanes(dishes);
  });

  test('then while it waits for the one that is held, the other is free for others', async () => {
    // In the order of the locks: one comes before the dish that is held, the other after it.
    const end = await holdStock('idli');
    const held = driven.submit([reserve('dosa', 'idli'), reserve('idli', 'vada')]);
    await eventually('both are set aside', () => driven.driver.waitingForRows() === 2);
    for (let round = 0; round < 20; round++) {
      const [other] = await all(driven.submit([reserve('dosa', 'vada')]));
      expect(other).toMatchObject(applied);
      expect(other?.ms).toBeLessThan(mainLockMs);
    }
    expect(await ended(held)).toBe(0);
    await end('rollback');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await world.query('select reserved from stock order by dish_id')).toEqual([
      { reserved: 21 },
      { reserved: 2 },
      { reserved: 21 },
    ]);
  });

  test('then with both held it takes the one and waits for the other without it', async () => {
    const endDosa = await holdStock('dosa');
    const endIdli = await holdStock('idli');
    const held = driven.submit([reserve('dosa', 'idli')]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    await endDosa('rollback');
    await sleep(500);
    const [other] = await all(driven.submit([reserve('dosa')]));
    expect(other).toMatchObject(applied);
    expect(other?.ms).toBeLessThan(mainLockMs);
    expect(await ended(held)).toBe(0);
    await endIdli('rollback');
    expect((await all(held))[0]).toMatchObject(applied);
  });
});

describe('When it is not a shared row that is held', () => {
  test("then an order whose journal entry is held is found, and the others' orders go on", async () => {
    const orderId = randomUUID();
    const end = await hold(
      `insert into journal values ('${orderId}', 'payment.charge', 'do', 'done', null, null, null, 1,
                                   '${randomUUID()}', 1, now())`,
    );
    const batch = driven.submit([...times(60, () => charge(1)), charge(2, { orderId }), charge(3)]);
    const [own] = batch.splice(60, 1) as [Promise<End>];
    for (const one of await all(batch)) expect(one.ms).toBeLessThan(1_500);
    const [next] = await all(driven.submit([charge(2)]));
    expect(next?.ms).toBeLessThan(mainLockMs);
    expect(await ended([own])).toBe(0);
    await end('commit');
    expect(await own).toMatchObject({ finished: true, verdict: { standing: 'repeat' } });
    expect(await balance(2)).toBe(999);
  });

  test('then a whole table that is locked is waited out, and nothing fails', async () => {
    const client = await world.pool.connect();
    await client.query('begin');
    await client.query('lock table journal');
    const ends = driven.submit(times(20, () => charge(1)));
    await eventually('they wait', () => driven.troubles.length > 2);
    expect(driven.driver.waitingForRows()).toBe(0);
    await client.query('rollback');
    client.release();
    for (const one of await all(ends)) expect(one).toMatchObject(applied);
    expect(await balance(1)).toBe(980);
  });
});
