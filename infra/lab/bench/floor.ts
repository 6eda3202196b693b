/**
 * The raw floor: the same five local transactions per order by plain SQL, one transaction (one prepared
 * statement) per step, in the same databases with the same durability. No messages, no journal, no
 * idempotency, no HTTP: what any engine that runs one transaction per step would have to beat.
 */
import { randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import { percentiles } from './percentiles.ts';

const connectionsPerDatabase = 16;
const wallets = 1_000;
const dishes = 300;

type Step = {
  database: string;
  name: string;
  text: string;
  values(index: number, orderId: string): unknown[];
};

const customer = (index: number) => `customer-${(index * 13) % wallets}`;
const dish = (index: number) => `dish-${(index * 7) % dishes}`;

const steps: readonly Step[] = [
  {
    database: 'order',
    name: 'place',
    text: `insert into bench_floor.orders (order_id, status, customer_id, total, created_at)
           values ($1, 'PENDING', $2, 12000, now())`,
    values: (index, orderId) => [orderId, customer(index)],
  },
  {
    database: 'payment',
    name: 'charge',
    text: `with debit as (update bench_floor.wallets set balance = balance - 12000
             where customer_id = $2 and balance >= 12000 returning customer_id)
           insert into bench_floor.payments (order_id, customer_id, amount, status)
           select $1, customer_id, 12000, 'charged' from debit`,
    values: (index, orderId) => [orderId, customer(index)],
  },
  {
    database: 'inventory',
    name: 'reserve',
    text: `with taken as (update bench_floor.stock set free = free - 1, reserved = reserved + 1
             where dish_id = $2 and free >= 1 returning dish_id)
           insert into bench_floor.reservations (order_id, dish_id, quantity, status)
           select $1, dish_id, 1, 'reserved' from taken`,
    values: (index, orderId) => [orderId, dish(index)],
  },
  {
    database: 'logistics',
    name: 'assign',
    text: `insert into bench_floor.assignments (order_id, courier_id, status) values ($1, $2, 'assigned')`,
    values: (index, orderId) => [orderId, `courier-${index % 40}`],
  },
  {
    database: 'order',
    name: 'dispatch',
    text: `update bench_floor.orders set status = 'DISPATCHED', ended_at = now() where order_id = $1`,
    values: (_index, orderId) => [orderId],
  },
];

const tables: Record<string, string> = {
  order: `create table bench_floor.orders (order_id uuid primary key, status text not null, customer_id text not null,
            total bigint not null, created_at timestamptz not null, ended_at timestamptz)`,
  payment: `create table bench_floor.wallets (customer_id text primary key, balance bigint not null check (balance >= 0));
            create table bench_floor.payments (order_id uuid primary key, customer_id text not null,
              amount bigint not null, status text not null);
            insert into bench_floor.wallets select 'customer-' || n, 1000000000000 from generate_series(0, ${wallets - 1}) n`,
  inventory: `create table bench_floor.stock (dish_id text primary key, free bigint not null check (free >= 0),
              reserved bigint not null);
            create table bench_floor.reservations (order_id uuid primary key, dish_id text not null,
              quantity int not null, status text not null);
            insert into bench_floor.stock select 'dish-' || n, 1000000000, 0 from generate_series(0, ${dishes - 1}) n`,
  logistics: `create table bench_floor.assignments (order_id uuid primary key, courier_id text not null, status text not null)`,
};

export type FloorResult = {
  ordersPerSecond: number;
  orders: number;
  latencyMs: { p50: number; p95: number; p99: number };
};

export async function runFloor(options: {
  databases: Record<string, { url: string }>;
  clients: number;
  seconds: number;
  warmUpSeconds: number;
  onMeasuring(): Promise<void>;
  onMeasured(): Promise<void>;
}): Promise<FloorResult> {
  const pools = await openPools(options.databases);
  const latencies: number[] = [];
  let measuring = false;
  let stopped = false;
  let next = 0;

  const client = async () => {
    while (!stopped) {
      const index = next++;
      const orderId = randomUUIDv7();
      const startedAt = performance.now();
      for (const { database, name, text, values } of steps) {
        await pools.get(database)?.query({ name, text, values: values(index, orderId) });
      }
      if (measuring && !stopped) latencies.push(performance.now() - startedAt);
    }
  };
  const running = Promise.all(Array.from({ length: options.clients }, client));
  await sleep(options.warmUpSeconds);
  await options.onMeasuring();
  measuring = true;
  const startedAt = performance.now();
  await Promise.race([sleep(options.seconds), running]);
  const tookSeconds = (performance.now() - startedAt) / 1_000;
  stopped = true;
  await options.onMeasured();
  await running;
  for (const pool of pools.values()) {
    await pool.query('drop schema bench_floor cascade');
    await pool.end();
  }
  return {
    orders: latencies.length,
    ordersPerSecond: latencies.length / tookSeconds,
    latencyMs: percentiles(latencies),
  };
}

async function openPools(databases: Record<string, { url: string }>): Promise<Map<string, pg.Pool>> {
  const pools = new Map<string, pg.Pool>();
  for (const [name, definition] of Object.entries(tables)) {
    const pool = new pg.Pool({ connectionString: databases[name]?.url, max: connectionsPerDatabase });
    await pool.query(`drop schema if exists bench_floor cascade; create schema bench_floor; ${definition}`);
    await pool.query('analyze');
    pools.set(name, pool);
  }
  return pools;
}

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
