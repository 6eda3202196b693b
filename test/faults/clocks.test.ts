/**
 * Row F27 of the fault matrix: clocks of services are wrong, against each other, and jump. A preload sets them
 * (shifted-date.ts); the databases keep the machine's, by which deadlines are set and looked at.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, inject, test } from 'vitest';
import { endOf, orderOf, place, somebody, stepOf, timelineOf } from '../support/api.ts';
import { pause, whileOrdersComeIn } from '../support/outside.ts';
import { heal, placePlanned, plan, setFaults } from '../support/set-faults.ts';
import { ordersEnd } from '../support/survivors.ts';
import { audit, keyed, oneOutcomeOf, placeIn2pc } from '../support/two-phase.ts';

const slowMs = 120_000;
const deadlineMs = 120_000;
/** Beyond the deadline of an order. */
const jumpMs = 150_000;
const readEveryMs = 20;
/** Of the watchdog, which looks twice a second; and of an order's way from here to the database. */
const looksMs = 1_500;
const onTheWayMs = 10_000;

const clocks = inject('clocks');
type Clocks = { order: number; payment: number; coordinator: number };

async function setClocks(shifts: Clocks): Promise<void> {
  for (const [name, ms] of Object.entries(shifts)) writeFileSync(join(clocks, name), String(ms));
  await pause(10 * readEveryMs);
}
afterEach(async () => {
  for (const name of ['order', 'payment', 'coordinator']) rmSync(join(clocks, name), { force: true });
  await heal();
});

/** How far off this clock is, by this machine's. */
const offBy = (time: string) => Math.round((Date.parse(time) - Date.now()) / onTheWayMs) * onTheWayMs;

/** Left until its deadline, by the database's clock. */
async function leftOf(orderId: string): Promise<number> {
  const text = `select (extract(epoch from deadline - clock_timestamp()) * 1000)::float8 as left
    from orders where order_id = $1`;
  return (await audit<{ left: number }>('order', text, [orderId]))[0]?.left ?? Number.NaN;
}

/** Every line stands after its cause, whatever their times say. */
async function expectCausal(orderId: string): Promise<void> {
  await stepOf(orderId, 'notification.notify-dispatched');
  const timeline = await timelineOf(orderId);
  expect(timeline).toHaveLength(8);
  timeline.forEach(({ causationId, lamport, step }, index) => {
    const cause = timeline.findIndex(({ eventId }) => eventId === causationId);
    expect([step, cause < index, (timeline[cause]?.lamport ?? 0) < lamport]).toEqual([step, true, true]);
    expect(cause === -1, step).toBe(index === 0);
  });
  const times = timeline.map(({ time }) => Date.parse(time));
  expect(
    times.toSorted((a, b) => a - b),
    'by the clocks it would be in another order',
  ).not.toEqual(times);
}

test('F27: clocks jump by more than a deadline, there and back: none passes early or late, and causes come first', {
  timeout: slowMs,
}, async () => {
  await whileOrdersComeIn(async (load) => {
    for (const shiftMs of [jumpMs, -jumpMs]) {
      // Placed by the right clock, and under way when it jumps.
      const held = { ...plan(), ...somebody() };
      await setFaults({ id: 'h', at: 'inventory.reserve', do: 'hang', scope: { orderId: held.orderId } });
      await placePlanned(held, { customerId: held.customerId });
      await stepOf(held.orderId, 'payment.charge');
      await setClocks({ order: shiftMs, payment: -shiftMs, coordinator: -shiftMs });
      const since = Date.now();
      await pause(looksMs);
      expect((await orderOf(held.orderId)).status).toBe('PENDING');

      const saga = await place({ customerId: somebody().customerId });
      expect(offBy(saga.createdAt)).toBe(shiftMs);
      expect(offBy((await stepOf(saga.orderId, 'payment.charge')).time)).toBe(-shiftMs);
      const left = await leftOf(saga.orderId);
      expect(left).toBeGreaterThan(deadlineMs - onTheWayMs);
      expect(left).toBeLessThanOrEqual(deadlineMs);
      const { key, orderId } = keyed();
      const placed = await placeIn2pc({ customerId: somebody().customerId }, key);
      expect([placed.status, offBy(placed.body.createdAt)]).toEqual([201, -shiftMs]);
      await ordersEnd(load, since);

      await setClocks({ order: 0, payment: 0, coordinator: 0 });
      await heal();
      for (const each of [saga, held]) expect((await endOf(each.orderId)).status).toBe('DISPATCHED');
      expect(await oneOutcomeOf(orderId)).toBe('commit');
      await expectCausal(saga.orderId);
      await ordersEnd(load, Date.now());
    }
  });
});
