import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkInvariants } from '#libs/checker/check.ts';
import type { AuditUrls } from '#libs/checker/gather.ts';
import { type CheckOptions, rules } from '#libs/checker/rules.ts';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { call, endOf, orderBody, place, stepOf, system } from './support/api.ts';
import { type Bus, openBus } from './support/bus.ts';
import { expectInvariants, violated } from './support/invariants.ts';
import { entry, plantsFor } from './support/plants.ts';
import { write } from './support/write.ts';

let bus: Bus;
let good: Order;
let bad: Order;
let agreed: Order;
let keyed: Order;
let keyedAgreed: Order;

/** Reads with the auditor's own rights, as the gateway does. */
const check = (options: Partial<CheckOptions> = {}) => {
  const names = [...serviceNames, 'coordinator'];
  const urls = Object.fromEntries(names.map((name) => [name, system.databases[name]?.auditUrl ?? '']));
  return checkInvariants(urls as AuditUrls, bus.connection, { quiet: true, ...options });
};

const underKey = () => ({ 'idempotency-key': randomUUID() });

async function agree(customerId: string, headers = {}): Promise<Order> {
  const body = { ...orderBody({ customerId }), protocol: '2pc' };
  const answer = await call<Order>('POST', '/api/orders', { body, headers });
  expect(answer).toMatchObject({ status: 201, body: { status: 'DISPATCHED', protocol: '2pc' } });
  return answer.body;
}

beforeAll(async () => {
  bus = await openBus();
  const items = [{ dishId: 'dish-200', quantity: 2 }];
  const placed = [await place({ customerId: 'customer-0700', items }), await place({ city: 'lonavala' })];
  [good, bad] = (await Promise.all(placed.map(({ orderId }) => endOf(orderId)))) as [Order, Order];
  keyed = await endOf((await place({ customerId: 'customer-0705' }, underKey())).orderId);
  agreed = await agree('customer-0704');
  keyedAgreed = await agree('customer-0706', underKey());
  for (const { orderId } of [good, keyed, agreed, keyedAgreed]) {
    await stepOf(orderId, 'notification.notify-dispatched');
  }
  await stepOf(bad.orderId, 'notification.notify-cancelled');
  await expectInvariants();
});
afterAll(async () => {
  await bus.close();
  await expectInvariants();
});

const plants = plantsFor(
  {
    good: () => good.orderId,
    bad: () => bad.orderId,
    agreed: () => agreed.orderId,
    keyed: () => keyed.orderId,
    keyedAgreed: () => keyedAgreed.orderId,
  },
  () => bus,
);

describe('When something is wrong that no service noticed', () => {
  test('then there is a planted violation of every rule', () => {
    const planted = new Set(plants.map(({ rule }) => rule));
    expect(rules.filter(({ id }) => !planted.has(id))).toEqual([]);
  });

  test.each(plants)(
    'then $rule finds $name, and nothing else',
    async ({ rule, also = [], about, plant, uproot, options }) => {
      await plant();
      try {
        const found = violated(await check(options?.()));
        expect(found.map(({ id }) => id)).toEqual([rule, ...also]);
        expect(found[0]?.violations.map(({ orderId }) => orderId)).toContain(about());
      } finally {
        await uproot();
      }
      expect(violated(await check())).toEqual([]);
    },
  );
});

describe('When there are ten thousand orders more', () => {
  const count = 10_000;
  const ids = `select overlay(md5(n::text || 'bulk') placing '7' from 13 for 1)::uuid as order_id
    from generate_series(1, ${count}) n`;
  const item = JSON.stringify([{ dishId: 'dish-202', quantity: 1 }]);
  const price = 5_000;

  const journal = (service: ServiceName, step: string) =>
    write(
      service,
      `${entry} select order_id, '${step}', 'do', 'done', null, 2, gen_random_uuid(), 1, now() from (${ids}) bulk`,
    );

  async function insert() {
    await write(
      'order',
      `insert into orders (order_id, status, protocol, customer_id, city, items, total, traceparent,
                           created_at, deadline, ended_at)
       select order_id, 'DISPATCHED', '2pc', 'customer-0703', 'pune', '${item}', ${price}, '',
              now(), now(), now() from (${ids}) bulk`,
    );
    await write(
      'payment',
      `insert into payments select order_id, 'customer-0703', ${price}, 'charged' from (${ids}) bulk`,
    );
    await write('payment', move('payment', count));
    await write(
      'inventory',
      `insert into reservations select order_id, '${item}', 'reserved' from (${ids}) bulk`,
    );
    await write('inventory', move('inventory', count));
    await write('logistics', `insert into assignments select order_id, 'c', 'assigned' from (${ids}) bulk`);
    await write(
      'coordinator',
      `insert into transactions
         (transaction_id, orders, participants, coordinator, began_at, decision, decided_at, ended_at)
       select order_id, jsonb_build_array(jsonb_build_object('orderId', order_id, 'traceparent', '')), $1,
              'a test', now(), 'commit', now(), now() from (${ids}) bulk`,
      [participantNames],
    );
    for (const name of participantNames) {
      await write(
        name,
        `insert into branches select order_id, 'prepared', array[order_id], now() from (${ids}) bulk`,
      );
    }
    await journal('payment', 'payment.charge');
    await journal('inventory', 'inventory.reserve');
    await journal('logistics', 'logistics.assign');
  }

  const move = (service: 'payment' | 'inventory', orders: number) =>
    service === 'payment'
      ? `update wallets set balance = balance - ${orders * price} where customer_id = 'customer-0703'`
      : `update stock set free = free - ${orders}, reserved = reserved + ${orders} where dish_id = 'dish-202'`;

  async function remove() {
    const bulk = `where order_id in (${ids})`;
    await write('order', `delete from orders ${bulk}`);
    const branches = `where transaction_id in (${ids})`;
    await write('coordinator', `delete from transactions ${branches}`);
    for (const name of participantNames) await write(name, `delete from branches ${branches}`);
    for (const [service, table] of [
      ['payment', 'payments'],
      ['inventory', 'reservations'],
      ['logistics', 'assignments'],
    ] as const) {
      await write(service, `delete from ${table} ${bulk}`);
      await write(service, `delete from journal ${bulk}`);
    }
    await write('payment', move('payment', -count));
    await write('inventory', move('inventory', -count));
  }

  test('then the checker still looks at every one of them', async () => {
    await insert();
    try {
      const found = await check();
      expect(violated(found)).toEqual([]);
      for (const rule of ['I3', 'I8']) {
        expect(found.rules.find(({ id }) => id === rule)?.checked).toBeGreaterThan(count);
      }
      process.stderr.write(`the checker took ${found.tookMs} ms for ${count} orders\n`);
    } finally {
      await remove();
    }
  });
});
