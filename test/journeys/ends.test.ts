import { afterAll, describe, expect, test } from 'vitest';
import type { OrderFault } from '#libs/contracts/orders.ts';
import {
  call,
  cancel,
  endOf,
  holdings,
  type OrderRequest,
  orderBody,
  place,
  somebody,
  stepOf,
  stockOf,
  timelineOf,
  typesOf,
} from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';

afterAll(expectInvariants);

const chain = [
  'order.cancellation.requested',
  'logistics.unassigned',
  'inventory.released',
  'payment.refunded',
  'order.cancelled',
];
const started = 'order.placement.requested';
const refuseAt = (at: string): OrderFault[] => [{ at, do: 'refuse' }];

describe('When nothing stands in the way', () => {
  test('then the order is dispatched, and has cost its price and its portions', async () => {
    const who = somebody();
    const before = await holdings(who);
    const placed = await place({
      customerId: who.customerId,
      items: [{ dishId: who.dishId, quantity: 3 }],
    });
    expect(placed).toMatchObject({ status: 'PENDING', protocol: 'saga', reason: null, endedAt: null });
    const order = await endOf(placed.orderId);
    expect(order).toMatchObject({ ...placed, status: 'DISPATCHED', endedAt: expect.any(String) });
    expect(await holdings(who)).toEqual({
      balance: before.balance - order.total,
      stock: { free: before.stock.free - 3, reserved: before.stock.reserved + 3 },
    });
    expect(typesOf(await timelineOf(order.orderId))).toEqual([
      started,
      'payment.completed',
      'inventory.reserved',
      'order.confirmed',
      'logistics.assigned',
      'order.dispatched',
    ]);
  });

  test('then every line of the timeline comes after its cause, in logical time and in the list', async () => {
    const { orderId } = await place();
    await stepOf(orderId, 'notification.notify-dispatched');
    const timeline = await timelineOf(orderId);
    expect(timeline).toHaveLength(8);
    timeline.forEach((item, index) => {
      const cause = timeline.findIndex(({ eventId }) => eventId === item.causationId);
      if (item.type === started) {
        expect([item.lamport, cause]).toEqual([1, -1]);
      } else {
        expect(cause, item.step).toBeGreaterThanOrEqual(0);
        expect(cause).toBeLessThan(index);
        expect(timeline[cause]?.lamport).toBeLessThan(item.lamport);
      }
    });
  });
});

type Case = { name: string; order: OrderRequest; reason: string; types: string[] };

const refusals: Case[] = [
  {
    name: 'the wallet is empty',
    order: { customerId: 'ravi' },
    reason: 'insufficient funds',
    types: [started, 'payment.failed', 'order.cancelled'],
  },
  {
    name: 'nobody has heard of the customer',
    order: { customerId: 'a-stranger' },
    reason: 'unknown customer',
    types: [started, 'payment.failed', 'order.cancelled'],
  },
  {
    name: 'the dish is sold out',
    order: { items: [{ dishId: 'truffle-thali', quantity: 1 }] },
    reason: 'out of stock: truffle-thali',
    types: [started, 'payment.completed', 'inventory.failed', 'payment.refunded', 'order.cancelled'],
  },
  {
    name: 'the city has no courier',
    order: { city: 'lonavala' },
    reason: 'no courier in lonavala',
    types: [
      started,
      'payment.completed',
      'inventory.reserved',
      'order.confirmed',
      'logistics.failed',
      'inventory.released',
      'payment.refunded',
      'order.cancelled',
    ],
  },
  {
    name: 'the charge is refused on purpose',
    order: { faults: refuseAt('payment.charge') },
    reason: 'injected refusal at payment.charge',
    types: [started, 'payment.failed', 'order.cancelled'],
  },
  {
    name: 'the reservation is refused on purpose',
    order: { faults: refuseAt('inventory.reserve') },
    reason: 'injected refusal at inventory.reserve',
    types: [started, 'payment.completed', 'inventory.failed', 'payment.refunded', 'order.cancelled'],
  },
  {
    name: 'the assignment is refused on purpose',
    order: { faults: refuseAt('logistics.assign') },
    reason: 'injected refusal at logistics.assign',
    types: [
      started,
      'payment.completed',
      'inventory.reserved',
      'order.confirmed',
      'logistics.failed',
      'inventory.released',
      'payment.refunded',
      'order.cancelled',
    ],
  },
  {
    name: 'the confirmation is refused on purpose, and the deadline passes',
    order: { faults: refuseAt('order.confirm') },
    reason: 'deadline passed',
    types: [started, 'payment.completed', 'inventory.reserved', ...chain],
  },
  {
    name: 'the dispatch is refused on purpose, and the deadline passes',
    order: { faults: refuseAt('order.dispatch') },
    reason: 'deadline passed',
    types: [
      started,
      'payment.completed',
      'inventory.reserved',
      'order.confirmed',
      'logistics.assigned',
      ...chain,
    ],
  },
];

describe.concurrent('When', () => {
  test.each(refusals)('$name, then the order is cancelled and all is as before', async (row) => {
    const own = somebody();
    const dishId = row.order.items?.[0]?.dishId ?? own.dishId;
    const customerId = row.order.customerId ?? own.customerId;
    const isKnown = customerId !== 'a-stranger';
    const who = { customerId, dishId };
    const before = isKnown ? await holdings(who) : await stockOf(dishId);
    const { orderId } = await place({ items: [{ dishId, quantity: 2 }], ...row.order, customerId });
    const order = await endOf(orderId);
    expect(order).toMatchObject({ status: 'CANCELLED', reason: row.reason });
    const timeline = await timelineOf(orderId);
    expect(typesOf(timeline)).toEqual(row.types);
    expect(isKnown ? await holdings(who) : await stockOf(dishId)).toEqual(before);
  });
});

describe('When the order is refused at the door', () => {
  test('then nothing has happened, and the answer says why', async () => {
    const who = somebody();
    const before = await holdings(who);
    const body = orderBody({ customerId: who.customerId, faults: refuseAt('order.place') });
    const answer = await call('POST', '/api/orders', { body });
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({
      code: 'order-refused',
      detail: 'injected refusal at order.place',
    });
    expect(await holdings(who)).toEqual(before);
  });

  test('then the same request under the same Idempotency-Key gets the same answer', async () => {
    const body = orderBody({ faults: refuseAt('order.place') });
    const headers = { 'idempotency-key': `refused-at-the-door-${Date.now()}` };
    const first = await call('POST', '/api/orders', { body, headers });
    const again = await call('POST', '/api/orders', { body, headers });
    expect([again.status, again.text]).toEqual([first.status, first.text]);
  });
});

describe('When an order is cancelled', () => {
  test('then the customer is told why, and that the money comes back', async () => {
    const { orderId } = await place({ faults: [{ at: 'order.confirm', do: 'delay', ms: 3_000 }] });
    await stepOf(orderId, 'inventory.reserve');
    expect((await cancel(orderId, { reason: 'changed my mind' })).status).toBe(202);
    await endOf(orderId);
    await stepOf(orderId, 'notification.notify-cancelled');
    const answer = await call<{ items: object[] }>('GET', `/api/notifications?orderId=${orderId}`);
    expect(answer.body.items).toEqual([
      expect.objectContaining({
        orderId,
        customerId: 'asha',
        kind: 'cancelled',
        text: 'Sorry, your order was cancelled (changed my mind), refund initiated.',
      }),
    ]);
  });
});
