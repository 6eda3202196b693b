import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { labControl } from '#lab/control/client.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { call, endOf, eventuallyAll, orderOf, somebody, system } from '../support/api.ts';
import { openBus } from '../support/bus.ts';
import { portOf } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { heldDown } from '../support/held-down.ts';
import { expectInvariants } from '../support/invariants.ts';
import { isEnd, type SteadyLoad, startLoad } from '../support/steady-load.ts';
import { earlierEnd, expectHealth, ordersEnd, otherReplicaOf, pidOf, workOf } from '../support/survivors.ts';
import {
  audit,
  bodyOf,
  inDoubtOf,
  keyed,
  oneOutcomeOf,
  pausing,
  preparedEverywhere,
  preparedGids,
  transactionsOf,
  undecided,
} from '../support/two-phase.ts';

const clients = 6;
const slowMs = 90_000;
/** Long enough to find the order in doubt and kill its coordinator. */
const undecidedMs = 3_000;
let load: SteadyLoad;

beforeAll(async () => {
  load = startLoad(system.urls, clients);
  await ordersEnd(load, 0);
});

afterAll(() => load.stop());

/** Of each kind one: sometimes the first, sometimes the second. The rest of the lab never stops. */
const replicas = [
  'order',
  'payment-2',
  'inventory',
  'logistics-2',
  'notification',
  'coordinator',
  'gateway-2',
];

describe('While orders of both protocols come in', () => {
  test.each(replicas)('and %s is killed, the other one does its work', { timeout: slowMs }, async (part) => {
    const other = otherReplicaOf(part);
    const [before, pid, survivor] = [await workOf(other), pidOf(part), pidOf(other)];
    await using down = await heldDown(part);
    const killedAt = Date.now();
    await ordersEnd(load, killedAt);
    expect([pidOf(part), pidOf(other)]).toEqual([null, survivor]);
    if (before !== null) expect(await workOf(other)).toBeGreaterThan(before);
    await Promise.all([down.start(), expectHealth()]);
    await earlierEnd(load, killedAt);
    expect(pidOf(part)).not.toBe(pid);
  });

  test('and the coordinator of an order is killed between the votes and the decision, others go on without it', {
    timeout: slowMs,
  }, async () => {
    const who = somebody();
    const { key, orderId } = keyed();
    const items = [{ dishId: who.dishId, quantity: 1 }];
    const request = { customerId: who.customerId, items, faults: undecided(undecidedMs) };
    const place = () =>
      call<Order>('POST', '/api/orders', { body: bodyOf(request), headers: { 'idempotency-key': key } });
    const placing = place();
    const [item] = await preparedEverywhere(orderId);
    const [row] = await audit<{ coordinator: string }>(
      'coordinator',
      'select coordinator from transactions where transaction_id = $1',
      [item?.transactionId],
    );
    const port = Number(row?.coordinator.split(':').at(-1));
    const part = ['coordinator', 'coordinator-2'].find((each) => portOf(each) === port) ?? '';
    await using down = await heldDown(part);
    expect((await placing).status).toBe(503);
    await ordersEnd(load, Date.now());
    // Nobody else may decide it before its time is over: it blocks, and only those who need its rows.
    expect(await inDoubtOf(orderId)).toHaveLength(4);
    expect((await transactionsOf(orderId)).map(({ decision }) => decision)).toEqual([null]);
    await down.start();
    await eventually('it is aborted', async () => (await inDoubtOf(orderId)).length === 0);
    const again = await eventually('the same key', async () => {
      const answer = await place();
      return answer.status === 503 ? undefined : answer;
    });
    expect([again.status, again.body.status], again.text).toEqual([201, 'DISPATCHED']);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    await expectHealth();
  });

  test('and a node of the broker is killed that does not lead, the others store what comes', {
    timeout: slowMs,
  }, async () => {
    const leader = await streamLeader();
    const part = ['nats', 'nats-2', 'nats-3'].find((node) => node !== leader) ?? '';
    await using down = await heldDown(part);
    await ordersEnd(load, Date.now());
    expect([pidOf(part), await streamLeader()]).toEqual([null, leader]);
    await Promise.all([down.start(), expectHealth()]);
    await earlierEnd(load, Date.now());
  });

  test('and the node that leads the stream is killed, another one leads', { timeout: slowMs }, async () => {
    const leader = await streamLeader();
    await using down = await heldDown(leader);
    const next = await eventually('another one leads', async () => {
      const found = await streamLeader();
      return found !== '' && found !== leader ? found : undefined;
    });
    expect(['nats', 'nats-2', 'nats-3']).toContain(next);
    await ordersEnd(load, Date.now());
    expect(pidOf(leader)).toBeNull();
    await Promise.all([down.start(), expectHealth()]);
    await earlierEnd(load, Date.now());
  });

  test('and a node of the broker stands still, everybody goes to the others', {
    timeout: slowMs,
  }, async () => {
    const part = await streamLeader();
    using still = pausing(part);
    await ordersEnd(load, Date.now());
    still.resume();
    await labControl(system.home).ready();
    await expectHealth();
    await earlierEnd(load, Date.now());
  });
});

async function streamLeader(): Promise<string> {
  const bus = await openBus();
  try {
    return (await bus.manager.streams.info('EVENTS')).cluster?.leader ?? '';
  } finally {
    await bus.close();
  }
}

describe('When all of that is over', () => {
  test('then every order has come to its end, one for each key, and nothing is left in doubt', {
    timeout: 150_000,
  }, async () => {
    await load.stop();
    const { orders } = load;
    expect(orders.filter(({ answer }) => answer === null).map(({ orderId }) => orderId)).toEqual([]);
    const codes = new Set(orders.map(({ answer }) => answer?.code ?? 'accepted'));
    expect([...codes].sort()).toEqual(['accepted', 'order-refused-by-participant']);
    for (const { orderId, answer } of orders) if (answer?.order) expect(answer.order.orderId).toBe(orderId);
    const open = orders.filter(({ answer }) => answer && !isEnd(answer));
    await eventuallyAll(open, ({ orderId }) => endOf(orderId, 60_000));
    expect(await preparedGids()).toEqual([]);
    await expectInvariants();
    // Some were tried more than once, or the kills have hit nobody.
    expect(orders.filter(({ tries }) => tries > 1).length).toBeGreaterThan(0);
  });

  test('then the same key is the same order at every gateway, and is answered as it was', async () => {
    const dispatched = load.orders.filter(({ answer }) => answer?.order?.status === 'DISPATCHED');
    for (const { orderId, key, body, answer } of dispatched.slice(-20)) {
      for (const url of system.urls) {
        const headers = { 'content-type': 'application/json', 'idempotency-key': key, prefer: 'wait=1' };
        const again = await fetch(`${url}/api/orders`, {
          method: 'POST',
          headers,
          body: JSON.stringify(body),
        });
        expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([201, 'true']);
        expect(await again.json()).toEqual(await orderOf(orderId));
        expect(answer?.order?.orderId).toBe(orderId);
      }
    }
  });
});
