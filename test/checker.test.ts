import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkInvariants } from '#libs/checker/check.ts';
import type { AuditUrls } from '#libs/checker/facts.ts';
import { type CheckOptions, rules } from '#libs/checker/rules.ts';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { endOf, place, stepOf, system } from './support/api.ts';
import { type Bus, openBus } from './support/bus.ts';
import { expectInvariants, violated } from './support/invariants.ts';

let bus: Bus;
let good: Order;
let bad: Order;

/** Reads with the auditor's own rights, as the gateway does. */
const check = (options: Partial<CheckOptions> = {}) => {
  const urls = Object.fromEntries(serviceNames.map((name) => [name, system.databases[name]?.auditUrl ?? '']));
  return checkInvariants(urls as AuditUrls, bus.connection, { quiet: true, ...options });
};

/** Writes as the service itself: the checker must find what nobody else noticed. */
async function write(
  service: ServiceName,
  text: string,
  values: unknown[] = [],
): Promise<pg.QueryResultRow[]> {
  const client = new pg.Client({ connectionString: system.databases[service]?.url });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  bus = await openBus();
  const items = [{ dishId: 'dish-200', quantity: 2 }];
  const placed = [await place({ customerId: 'customer-0700', items }), await place({ city: 'lonavala' })];
  [good, bad] = (await Promise.all(placed.map(({ orderId }) => endOf(orderId)))) as [Order, Order];
  await stepOf(good.orderId, 'notification.notify-dispatched');
  await stepOf(bad.orderId, 'notification.notify-cancelled');
  await expectInvariants();
});
afterAll(async () => {
  await bus.close();
  await expectInvariants();
});

const entry = `insert into journal
  (order_id, step, direction, outcome, event_type, lamport, causation_id, attempt, recorded_at)`;

type Plant = {
  rule: string;
  name: string;
  /** The order that must be named, or null where the violation is about no single order. */
  about: () => string | null;
  plant: () => Promise<unknown>;
  uproot: () => Promise<unknown>;
  options?: () => Partial<CheckOptions>;
};

/** What was deleted, to be put back. */
let kept: pg.QueryResultRow | undefined;
const strayId = randomUUID();

const plants: Plant[] = [
  {
    rule: 'I1',
    name: 'money that vanished from a wallet',
    about: () => null,
    plant: () =>
      write('payment', `update wallets set balance = balance - 1 where customer_id = 'customer-0701'`),
    uproot: () =>
      write('payment', `update wallets set balance = balance + 1 where customer_id = 'customer-0701'`),
  },
  {
    rule: 'I1',
    name: 'a payment of another amount than the order costs',
    about: () => good.orderId,
    plant: () =>
      write('payment', 'update payments set amount = amount + 1 where order_id = $1', [good.orderId]),
    uproot: () =>
      write('payment', 'update payments set amount = amount - 1 where order_id = $1', [good.orderId]),
  },
  {
    rule: 'I2',
    name: 'a portion that vanished from the stock',
    about: () => null,
    plant: () => write('inventory', `update stock set free = free - 1 where dish_id = 'dish-201'`),
    uproot: () => write('inventory', `update stock set free = free + 1 where dish_id = 'dish-201'`),
  },
  {
    rule: 'I2',
    name: 'a reservation of another quantity than was ordered',
    about: () => good.orderId,
    plant: () => setReserved(3),
    uproot: () => setReserved(2),
  },
  {
    rule: 'I3',
    name: 'a dispatched order whose courier was taken away',
    about: () => good.orderId,
    async plant() {
      await write('logistics', `update assignments set status = 'unassigned' where order_id = $1`, [
        good.orderId,
      ]);
      const values = `values ($1, 'logistics.assign', 'undo', 'done', null, 99, $2, 1, now())`;
      await write('logistics', `${entry} ${values}`, [good.orderId, randomUUID()]);
    },
    async uproot() {
      await write('logistics', `update assignments set status = 'assigned' where order_id = $1`, [
        good.orderId,
      ]);
      await write('logistics', `delete from journal where order_id = $1 and direction = 'undo'`, [
        good.orderId,
      ]);
    },
  },
  {
    rule: 'I4',
    name: 'a dispatched order that is cancelled as well',
    about: () => good.orderId,
    plant() {
      const values = `values ($1, 'order.place', 'undo', 'done', 'order.cancelled', 99, $2, 1, now())`;
      return write('order', `${entry} ${values}`, [good.orderId, randomUUID()]);
    },
    uproot: () =>
      write('order', `delete from journal where order_id = $1 and direction = 'undo'`, [good.orderId]),
  },
  {
    rule: 'I5',
    name: 'an event that took effect twice',
    about: () => good.orderId,
    plant: () =>
      write(
        'notification',
        `${entry} select order_id, 'notification.twice', direction, outcome, null, lamport, causation_id, 1, now()
         from journal where order_id = $1 and step = 'notification.notify-dispatched'`,
        [good.orderId],
      ),
    uproot: () => write('notification', `delete from journal where step = 'notification.twice'`),
  },
  {
    rule: 'I5',
    name: 'a payment that no journal entry stands for',
    about: () => strayId,
    plant: () =>
      write('payment', `insert into payments values ($1, 'customer-0702', 0, 'charged')`, [strayId]),
    uproot: () => write('payment', 'delete from payments where order_id = $1', [strayId]),
  },
  {
    rule: 'I6',
    name: 'a message that was published and never committed',
    about: () => null,
    plant: () => bus.publish('order.cancelled', '[]', randomUUID()),
    // Deletes the last message of the stream: the checker must not wait for it for ever.
    uproot: () => bus.clean(),
  },
  {
    rule: 'I6',
    name: 'an outbox row that is gone',
    about: () => null,
    async plant() {
      [kept] = await write(
        'payment',
        `delete from outbox where message_id = (select message_id from outbox limit 1) returning *`,
      );
    },
    uproot: () =>
      write('payment', 'insert into outbox select * from json_populate_record(null::outbox, $1)', [
        JSON.stringify(kept),
      ]),
  },
  {
    rule: 'I6',
    name: 'a message that is called published and is not in the stream',
    about: () => null,
    plant: () =>
      write('payment', `insert into outbox values ($1, 'payment.failed', 0, '[]', now(), now())`, [strayId]),
    uproot: () => write('payment', 'delete from outbox where message_id = $1', [strayId]),
  },
  {
    rule: 'I7',
    name: 'a step that ran after its undo',
    about: () => bad.orderId,
    plant: () => shiftCharge(50),
    uproot: () => shiftCharge(-50),
  },
  {
    rule: 'I7',
    name: 'an undo without its barrier',
    about: () => bad.orderId,
    async plant() {
      [kept] = await write(
        'order',
        `delete from journal where order_id = $1 and step = 'order.place' and direction = 'do' returning *`,
        [bad.orderId],
      );
    },
    uproot: () =>
      write('order', 'insert into journal select * from json_populate_record(null::journal, $1)', [
        JSON.stringify(kept),
      ]),
  },
  {
    rule: 'I11',
    name: 'an accepted order that is gone',
    about: () => strayId,
    plant: async () => {},
    uproot: async () => {},
    options: () => ({ accepted: [good.orderId, strayId] }),
  },
  {
    rule: 'I12',
    name: 'an order that does not come to its end',
    about: () => strayId,
    plant: () =>
      write(
        'order',
        `insert into orders (order_id, status, protocol, customer_id, city, items, total, traceparent,
                             body_hash, created_at, deadline)
         select $1, 'PENDING', protocol, customer_id, city, items, total, traceparent,
                body_hash, created_at, now() + interval '1 day' from orders where order_id = $2`,
        [strayId, good.orderId],
      ),
    uproot: () => write('order', 'delete from orders where order_id = $1', [strayId]),
  },
];

const setReserved = (quantity: number) =>
  write('inventory', 'update reservations set items = $2 where order_id = $1', [
    good.orderId,
    JSON.stringify([{ dishId: 'dish-200', quantity }]),
  ]);
const shiftCharge = (by: number) =>
  write('payment', `update journal set lamport = lamport + $2 where order_id = $1 and direction = 'do'`, [
    bad.orderId,
    by,
  ]);

describe('When something is wrong that no service noticed', () => {
  test('then there is a planted violation of every rule', () => {
    expect([...new Set(plants.map(({ rule }) => rule))]).toEqual(rules.map(({ id }) => id));
  });

  test.each(plants)(
    'then $rule finds $name, and nothing else',
    async ({ rule, about, plant, uproot, options }) => {
      await plant();
      try {
        const found = violated(await check(options?.()));
        expect(found.map(({ id }) => id)).toEqual([rule]);
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
  const ids = `select md5(n::text || 'bulk')::uuid as order_id from generate_series(1, ${count}) n`;
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
       select order_id, 'DISPATCHED', 'saga', 'customer-0703', 'pune', '${item}', ${price}, '',
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
      expect(found.rules.find(({ id }) => id === 'I3')?.checked).toBeGreaterThan(count);
      process.stderr.write(`the checker took ${found.tookMs} ms for ${count} orders\n`);
    } finally {
      await remove();
    }
  });
});
