/**
 * For tests of rows that are held: wallets and stock in real databases, a driver with lanes, and prepared
 * transactions that hold what they are told to.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, inject } from 'vitest';
import { noFaults } from '#libs/faults/injector.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createOutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { createSagaDriver, type SagaDriver } from '#libs/step/saga-driver.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import { traceNothing } from '#libs/telemetry/batch-trace.ts';
import { inventory } from '#services/inventory/service.ts';
import { payment } from '#services/payment/service.ts';
import { openWorld, type World } from './world.ts';

/** Who has to wait for a held row to be noticed takes at least this long. */
export const mainLockMs = 100;
const lanesMax = 3;

export type End = { verdict?: Verdict | undefined; finished: boolean; error?: unknown; ms: number };
type Driven = {
  driver: SagaDriver;
  /** Events as they were sent, by order. */
  sent: string[];
  troubles: string[];
  submit(intents: readonly Intent[], patient?: boolean): Promise<End>[];
};

export let wallets: World;
export let dishes: World;
export let driven: Driven;
/** Whose rows are held. */
let world: World;
const pools: pg.Pool[] = [];

/** For the whole file, with a fresh driver of this service for each test. */
export function useHeldRows(service: 'payment' | 'inventory'): void {
  beforeAll(async () => {
    wallets = await openWorld(inject('adminUrl'), payment);
    dishes = await openWorld(inject('adminUrl'), inventory);
    world = service === 'payment' ? wallets : dishes;
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
    driven = driveWithLanes(world);
  });
  afterEach(async () => {
    const left = await world.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    for (const { gid } of left) await world.query(`rollback prepared '${gid}'`);
    await driven.driver.stop();
    await Promise.all(pools.splice(0).map((pool) => pool.end()));
  });
}

export function openPool(of: World, name: string, connectionsMax: number): pg.Pool {
  const url = of.pool.options.connectionString ?? '';
  const pool = createPool(url, { name, purpose: 'steps', connectionsMax, onError: () => {} });
  pools.push(pool);
  return pool;
}

function driveWithLanes(of: World): Driven {
  const pool = openPool(of, 'main', 4);
  const lanePool = openPool(of, 'lane', lanesMax);
  const sent: string[] = [];
  const troubles: string[] = [];
  const onTrouble = (_error: unknown, what: string) => troubles.push(what);
  const now = () => new Date();
  const publish = async ({ body }: { body: string }) => {
    for (const { type, subject } of JSON.parse(body)) sent.push(`${type} ${subject}`);
    return sent.length;
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
export async function hold(
  statement: string,
  pool = world.pool,
): Promise<(verb: 'commit' | 'rollback') => Promise<unknown>> {
  const gid = `2pc:${randomUUID()}:test`;
  const client = await pool.connect();
  await client.query('begin');
  await client.query(statement);
  await client.query(`prepare transaction '${gid}'`);
  client.release();
  return (verb) => pool.query(`${verb} prepared '${gid}'`);
}
export const holdWallet = (index: number, debit = 100, pool?: pg.Pool) =>
  hold(`update wallets set balance = balance - ${debit} where customer_id = 'customer-${index}'`, pool);
export const holdStock = (dish: string) => hold(`update stock set free = free - 1 where dish_id = '${dish}'`);

export const charge = (customer: number, over: { orderId?: string; sabotage?: Error } = {}) => {
  const { orderId = randomUUID(), ...rest } = over;
  const items = [{ dishId: 'dosa', quantity: 1 }];
  const cause = { orderId, customerId: `customer-${customer}`, data: { city: 'pune', items, total: 1 } };
  return wallets.intent('order.placement.requested', cause, rest);
};
export const refund = (customer: number, orderId: string) => {
  const cause = { orderId, customerId: `customer-${customer}`, lamport: 3, data: { reason: 'no' } };
  return wallets.intent('inventory.failed', cause);
};
export const reserve = (...dishIds: string[]) => {
  const items = dishIds.map((dishId) => ({ dishId, quantity: 1 }));
  return dishes.intent('payment.completed', { dishIds: dishIds.join(','), data: { items } });
};
export const balance = async (customer: number) => {
  const text = 'select balance from wallets where customer_id = $1';
  return (await world.query<{ balance: number }>(text, [`customer-${customer}`]))[0]?.balance;
};
export const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
export const all = (ends: Promise<End>[]) => Promise.all(ends);
export const applied = { finished: true, verdict: { standing: 'applied' } };
/** How many of these have ended by now. */
export async function ended(ends: Promise<End>[]): Promise<number> {
  const nothing = Symbol();
  const found = await Promise.all(ends.map((end) => Promise.race([end, Promise.resolve(nothing)])));
  return found.filter((one) => one !== nothing).length;
}
export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
export const waitingInDatabase = async () => {
  const text = `select count(*)::int as count from pg_stat_activity
                where datname = current_database() and application_name = 'lane' and wait_event_type = 'Lock'`;
  return (await world.query<{ count: number }>(text))[0]?.count ?? 0;
};
