/**
 * Rows F9 and F22 of the fault matrix: a transaction that stays open, here a prepared one, holds an older row of the
 * same outbox. What is younger is published past it, by its process and by the relay; and it is, when it is committed.
 */
import { afterAll, afterEach, expect, test } from 'vitest';
import { endOf, somebody, stepOf } from '../support/api.ts';
import { labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric } from '../support/service.ts';
import { heal, hitsOf, placePlanned, plan, setFaults } from '../support/set-faults.ts';
import {
  audit,
  inDoubtOf,
  keyed,
  killsOf,
  oneOutcomeOf,
  placeIn2pc,
  preparedEverywhere,
} from '../support/two-phase.ts';

afterEach(heal);
afterAll(expectInvariants);

/** Nothing of what the orphan holds is another's. */
const one = () => {
  const { customerId, dishId } = somebody();
  return { customerId, items: [{ dishId, quantity: 1 }] };
};

/** The relay leaves young rows to the process that wrote them, and here that process dies. */
const relayedWithinMs = 40_000;

type Said = { createdAt: Date; publishedAt: Date | null };
const saidBy = (orderId: string) =>
  audit<Said>(
    'order',
    `select created_at as "createdAt", published_at as "publishedAt" from outbox
     where body like '%' || $1 || '%' order by created_at`,
    [orderId],
  );

test('F9, F22: an orphan stands prepared over an older row of the outbox: younger ones are published, then it is', async () => {
  const [orphan, young] = [keyed(), plan()];
  await setFaults(
    { id: 'o', at: 'coordinator.before-decision', do: 'hang', scope: { orderId: orphan.orderId } },
    {
      id: 'y',
      at: 'order.place.after-commit-before-publish',
      do: 'crash',
      scope: { orderId: young.orderId },
      hitsMax: 1,
    },
  );
  const kills = killsOf('order');
  const answered = placeIn2pc(one(), orphan.key);
  await preparedEverywhere(orphan.orderId);
  await placePlanned(young, one());
  await labReady();
  expect(await endOf(young.orderId, relayedWithinMs)).toMatchObject({ status: 'DISPATCHED' });
  expect([await hitsOf('o'), await hitsOf('y'), killsOf('order')]).toEqual([1, 1, kills + 1]);
  // Its own process is dead, so the relay has done it; and the orphan stands where it stood.
  expect(await metric('order', /^saga_outbox_relayed_total/)).toBeGreaterThan(0);
  expect((await inDoubtOf(orphan.orderId)).map(({ service }) => service)).toContain('order');
  expect(await saidBy(orphan.orderId)).toEqual([]);

  await heal();
  expect((await answered).status).toBe(201);
  expect(await oneOutcomeOf(orphan.orderId)).toBe('commit');
  await stepOf(orphan.orderId, 'notification.notify-dispatched');
  await eventually('it is marked', async () => (await saidBy(orphan.orderId))[0]?.publishedAt);
  const [[older], [younger]] = [await saidBy(orphan.orderId), await saidBy(young.orderId)];
  expect(older?.createdAt.getTime()).toBeLessThan(younger?.createdAt.getTime() ?? 0);
  expect(older?.publishedAt?.getTime()).toBeGreaterThan(younger?.publishedAt?.getTime() ?? 0);
});
