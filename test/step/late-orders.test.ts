/** The watchdog looks twice a second, for as long as there are orders: what it reads must not grow with them. */
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { lateOrders } from '#services/order/deadline.ts';
import { freshDatabase } from '../support/fresh-database.ts';

const endedOrders = 20_000;
const place = (count: number, status: string, deadline: string, endedAt: string) => `
  insert into orders (order_id, status, protocol, customer_id, city, items, total, traceparent, created_at, deadline, ended_at)
  select gen_random_uuid(), '${status}', 'saga', 'one', 'pune', '[]', 1, '', now(), now() + interval '${deadline}' * n, ${endedAt}
  from generate_series(1, ${count}) n`;

let pool: pg.Pool;
beforeAll(async () => {
  const url = await freshDatabase('late');
  pool = createPool(url, { name: 'late', purpose: 'reads', onError: () => {} });
  await migrate(pool, 'services/order/migrations');
  await pool.query(place(endedOrders, 'DISPATCHED', '-1 second', 'now()'));
  await pool.query(place(3, 'PENDING', '-1 minute', 'null'));
  await pool.query(place(2, 'CANCELLED', '-1 minute', 'now()'));
  await pool.query(place(5, 'CONFIRMED', '1 hour', 'null'));
});
afterAll(() => pool.end());

const db = () => drizzle(pool, { casing: 'snake_case' });

test('Late orders are the open ones whose deadline has passed, the longest overdue first, as many as are asked for', async () => {
  const late = await lateOrders(db(), 10);
  expect(late.map(({ status }) => status)).toEqual(['PENDING', 'PENDING', 'PENDING']);
  expect(late.map(({ deadline }) => deadline)).toEqual(
    late.map(({ deadline }) => deadline).sort((a, b) => +a - +b),
  );
  expect(await lateOrders(db(), 2)).toHaveLength(2);
});

test.each(['before', 'after'])(
  'They are looked up in the index of open orders, %s the table is analysed',
  async (when) => {
    if (when === 'after') await pool.query('analyze orders');
    const { rows } = await db().execute<{ 'QUERY PLAN': string }>(sql`explain ${lateOrders(db(), 10)}`);
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(plan).toMatch(/Index Scan using orders_open/);
    expect(plan).toMatch(/Index Cond: \(deadline < statement_timestamp\(\)\)/);
  },
);
