import { afterAll, describe, expect, test } from 'vitest';
import type { OrderFault } from '#libs/contracts/orders.ts';
import { stepPoints } from '#libs/faults/points.ts';
import {
  call,
  cancel,
  endOf,
  holdings,
  orderBody,
  place,
  placedInTest,
  somebody,
  stepOf,
} from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';

afterAll(expectInvariants);

type Way = { city: string; hold?: OrderFault; isCancelled: boolean };

/** Which way an order must take to come by a point. */
const goesWell: Way = { city: 'bengaluru', isCancelled: false };
const noCourier: Way = { city: 'lonavala', isCancelled: true };
/** Held before its dispatch, so that there is time to cancel it. */
const cancelled: Way = {
  city: 'bengaluru',
  hold: { at: 'order.dispatch', do: 'delay', ms: 4_000 },
  isCancelled: true,
};

const wayBy: Record<string, Way> = {
  'inventory.release': noCourier,
  'payment.refund': noCourier,
  'order.cancel': noCourier,
  'notification.notify-cancelled': noCourier,
  'order.request-cancellation': cancelled,
  'logistics.unassign': cancelled,
};

/** The journal names a step and its undo together; the timeline names them apart. */
const points = Object.keys(stepPoints);

async function travel(point: string, fault: OrderFault) {
  const { city, hold, isCancelled } = wayBy[point] ?? goesWell;
  const who = somebody();
  const before = await holdings(who);
  const body = orderBody({
    customerId: who.customerId,
    city,
    items: [{ dishId: who.dishId, quantity: 1 }],
    faults: hold ? [hold, fault] : [fault],
  });
  const answer = await call<{ orderId: string }>('POST', '/api/orders', { body });
  expect(answer.status, answer.text).toBe(202);
  const { orderId } = answer.body;
  placedInTest.push(orderId);
  if (hold) {
    await stepOf(orderId, 'logistics.assign');
    expect((await cancel(orderId)).status).toBe(202);
  }
  const order = await endOf(orderId);
  expect(order.status).toBe(isCancelled ? 'CANCELLED' : 'DISPATCHED');
  if (isCancelled) expect(await holdings(who)).toEqual(before);
  return { order, item: await stepOf(orderId, point) };
}

describe.concurrent('When a step or undo fails twice', () => {
  test.each(points)('%s is tried again, and then succeeds', async (point) => {
    const { item } = await travel(point, { at: point, do: 'error', times: 2 });
    expect(item).toMatchObject({ outcome: 'done', attempt: 3 });
  });
});

describe.concurrent('When a step or undo is slow', () => {
  const ms = 300;
  test.each(points)('%s comes late, and nothing else changes', async (point) => {
    const placedMs = Date.now();
    const { item } = await travel(point, { at: point, do: 'delay', ms });
    expect(item).toMatchObject({ outcome: 'done', attempt: 1 });
    expect(Date.parse(item.time) - placedMs).toBeGreaterThanOrEqual(ms);
  });
});

describe.concurrent('When the request for a late order is slow', () => {
  test('then another late order is cancelled in time all the same', async () => {
    const refuse: OrderFault = { at: 'order.confirm', do: 'refuse' };
    const slow = await place({
      faults: [refuse, { at: 'order.request-cancellation', do: 'delay', ms: 4_500 }],
    });
    const placedMs = Date.now();
    // So much later that the watchdog meets the two in different rounds.
    await eventually('another round', () => Date.now() > placedMs + 1_200);
    const other = await place({ faults: [refuse] });
    const first = await endOf(other.orderId);
    expect(first).toMatchObject({ status: 'CANCELLED', reason: 'deadline passed' });
    const second = await endOf(slow.orderId);
    expect(Date.parse(second.endedAt ?? '')).toBeGreaterThan(Date.parse(first.endedAt ?? '') + 1_500);
  });
});
