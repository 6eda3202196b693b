import { afterAll, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import { call, endOf, eventuallyAll, orderOf, placeThroughOutage } from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { expectInvariants } from '../support/invariants.ts';

afterAll(expectInvariants, 120_000);

const ordersCount = 100;
const paceMs = 120;
/** What a killed process had in hand comes again after the broker's ack wait of 10 s. */
const endWithinMs = 80_000;

/** One after another, while orders come in: each kill hits a system that still recovers from the last one. */
const kills = [
  'order',
  'payment',
  'inventory',
  'logistics',
  'notification',
  'gateway',
  'nats',
  'order-db',
  'payment-db',
  'inventory-db',
  'logistics-db',
  'notification-db',
];

/** A few of every kind of story. */
const storyOf = (index: number) => {
  if (index % 10 === 3) return { city: 'lonavala' };
  if (index % 10 === 6) return { customerId: 'ravi' };
  if (index % 10 === 9) return { items: [{ dishId: 'truffle-thali', quantity: 1 }] };
  return { customerId: `customer-${String(900 + (index % 50)).padStart(4, '0')}` };
};

/** The services that react to a message on an order's way to its dispatch, two of them twice. */
const stops = ['payment', 'inventory', 'logistics', 'order', 'payment', 'inventory'];
const ordersPerStop = 40;

describe('When a service stops in good order while orders are under way', () => {
  test('then no message waits for the ack wait: none of the orders is late', async () => {
    const placing: Promise<Order>[] = [];
    for (const part of stops) {
      for (let index = 0; index < ordersPerStop; index++) placing.push(placeThroughOutage(storyOf(0)));
      // Some are on their way through every service by then.
      await new Promise((resolve) => setTimeout(resolve, paceMs));
      await killPart(part, 'SIGTERM');
    }
    const ended = await eventuallyAll(await Promise.all(placing), ({ orderId }) => endOf(orderId));
    expect(ended.filter(({ status }) => status !== 'DISPATCHED')).toEqual([]);
  });
});

describe('When every process is killed in the middle of a hundred orders', () => {
  test('then every accepted order comes to its end, and nothing is lost or done twice', {
    timeout: 180_000,
  }, async () => {
    const placing = Array.from({ length: ordersCount }, async (_, index) => {
      await new Promise((resolve) => setTimeout(resolve, index * paceMs));
      return placeThroughOutage(storyOf(index));
    });
    for (const part of kills) await killPart(part);
    const placed = await Promise.all(placing);
    await labReady();

    const ended = await eventuallyAll(placed, ({ orderId }) => endOf(orderId, endWithinMs));
    expect(new Set(ended.map(({ orderId }) => orderId)).size).toBe(ordersCount);
    for (const { orderId, status } of ended) expect(['DISPATCHED', 'CANCELLED'], orderId).toContain(status);
    // An end is never left: asked again after everything is quiet, each order is where it was.
    await expectInvariants();
    const again = await Promise.all(placed.map(({ orderId }) => orderOf(orderId)));
    expect(again).toEqual(ended);
    expect(ended.filter(({ status }) => status === 'DISPATCHED').length).toBeGreaterThan(0);
  });

  test('then the lab serves as before', async () => {
    const body = { customerId: 'asha', city: 'bengaluru', items: [{ dishId: 'masala-dosa', quantity: 1 }] };
    const answer = await call<Order>('POST', '/api/orders', { body, headers: { prefer: 'wait=10' } });
    expect([answer.status, answer.body.status]).toEqual([201, 'DISPATCHED']);
  });
});
