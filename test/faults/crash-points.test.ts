/**
 * A crash at every point between a step's writes and its acknowledgement, in every service: the service is started
 * again, the order ends as it would have, and nothing is lost or done twice. The next one crashes
 * while the orders before it wait for the broker's ack wait.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runningLab } from '#lab/home.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { endOf, holdings, somebody, stepOf, system, timelineOf } from '../support/api.ts';
import { labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { faultsSet, hitsOf, type Planned, placePlanned, plan, setFaults } from '../support/set-faults.ts';
import { killsOf } from '../support/two-phase.ts';

const places = ['after-commit-before-publish', 'after-publish-before-ack', 'before-commit'];
const services = ['order', 'payment', 'inventory', 'logistics', 'notification'] as const;

type Way = { city: string; end: Order['status'] };
const goesWell: Way = { city: 'bengaluru', end: 'DISPATCHED' };
const noCourier: Way = { city: 'lonavala', end: 'CANCELLED' };

/**
 * Every service at every place, steps and undos in turn, against the flow: an order that waits for what a crash has
 * delayed has then left behind the services that crash next.
 */
const rows: [at: string, way: Way][] = [
  ['notification.notify-cancelled.after-publish-before-ack', noCourier],
  ['order.cancel.after-publish-before-ack', noCourier],
  ['payment.refund.after-commit-before-publish', noCourier],
  ['inventory.release.after-commit-before-publish', noCourier],
  ['inventory.release.after-publish-before-ack', noCourier],
  ['notification.notify-dispatched.after-commit-before-publish', goesWell],
  ['notification.notify-confirmed.before-commit', goesWell],
  ['logistics.assign.before-commit', goesWell],
  ['logistics.assign.after-commit-before-publish', goesWell],
  ['logistics.assign.after-publish-before-ack', goesWell],
  ['order.confirm.after-commit-before-publish', goesWell],
  ['inventory.reserve.before-commit', goesWell],
  ['payment.charge.before-commit', goesWell],
  ['payment.charge.after-publish-before-ack', goesWell],
  ['order.place.before-commit', goesWell],
];

type Case = { at: string; step: string; place: string; way: Way; who: ReturnType<typeof somebody> } & Planned;

const cases: Case[] = rows.map(([at, way]) => {
  const [service, step, place = ''] = at.split('.');
  return { at, step: `${service}.${step}`, place, way, who: somebody(), ...plan() };
});
const idOf = ({ at }: Pick<Case, 'at'>) => at.replaceAll('.', '_').slice(-40);
const casesOf = (service: string) => cases.filter(({ step }) => step.startsWith(`${service}.`));
const pidsOf = () => services.map((name) => runningLab(system.home).parts[name]?.process?.pid);

const endsWithinMs = 60_000;
const before = new Map<Case, Awaited<ReturnType<typeof holdings>>>();
let pidsBefore: ReturnType<typeof pidsOf>;
let killsBefore: number[];

beforeAll(async () => {
  for (const one of cases) before.set(one, await holdings(one.who));
  pidsBefore = pidsOf();
  killsBefore = services.map(killsOf);
  const once = { do: 'crash', hitsMax: 1 } as const;
  await setFaults(
    ...cases.map((one) => ({ ...once, id: idOf(one), at: one.at, scope: { orderId: one.orderId } })),
  );
  for (const { who, way, ...one } of cases) {
    const items = [{ dishId: who.dishId, quantity: 1 }];
    await placePlanned(one, { customerId: who.customerId, city: way.city, items });
    // Of two in one batch the first crash would take the second one's with it.
    await eventually(`the fault at ${one.at} has fired`, async () => (await hitsOf(idOf(one))) === 1);
  }
});
afterAll(expectInvariants);

describe('When a service crashes', { timeout: endsWithinMs }, () => {
  test.each(cases)('F1, F2, F3, F4, F5: at $at, then the order ends all the same', async (one) => {
    const order = await endOf(one.orderId, endsWithinMs);
    const item = await stepOf(one.orderId, one.step, endsWithinMs);
    expect(order.status).toBe(one.way.end);
    expect(item.outcome).toBe('done');
    // A request begins with attempt 1 again in the next process; a message counts its deliveries.
    if (one.place === 'before-commit' && one.step !== 'order.place') expect(item.attempt).toBeGreaterThan(1);
    const steps = (await timelineOf(one.orderId)).map(({ step }) => step);
    expect(new Set(steps).size).toBe(steps.length);
    if (one.way.end === 'CANCELLED') expect(await holdings(one.who)).toEqual(before.get(one));
  });

  test('then each fault has fired once, and each hit was the end of one process', async () => {
    await labReady();
    expect((await faultsSet()).map(({ at, hits }) => [at, hits])).toEqual(cases.map(({ at }) => [at, 1]));
    services.forEach((name, index) => {
      const crashed = casesOf(name);
      expect(crashed.map(({ place }) => place).sort(), name).toEqual(places);
      expect(killsOf(name) - (killsBefore[index] ?? 0), name).toBe(crashed.length);
    });
    pidsOf().forEach((pid, index) => {
      expect(pid, services[index]).not.toBe(pidsBefore[index]);
    });
  });
});
