/** Every point of the saga is met by an order that comes by, once, and by no other. */
import { afterAll, expect, test } from 'vitest';
import { faultPoints } from '#libs/faults/points.ts';
import { cancel, endOf, place, somebody, stepOf } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { faultsSet, setFaults } from '../support/set-faults.ts';

afterAll(expectInvariants);

const holdMs = 3_000;
const sagaPoints = Object.keys(faultPoints).filter((at) => faultPoints[at]?.kind === 'saga');

test('Every point between a step and its acknowledgement is reached, and counts its hits', async () => {
  const { customerId } = somebody();
  const scope = { customerId };
  await setFaults(
    ...sagaPoints.map((at, index) => ({ id: `p${index}`, at, do: 'delay' as const, ms: 1, scope })),
  );
  const well = await place({ customerId });
  const refused = await place({ customerId, city: 'lonavala' });
  // Held before its dispatch, so that there is time to cancel it.
  const faults = [{ at: 'order.dispatch', do: 'delay', ms: holdMs } as const];
  const cancelled = await place({ customerId, faults });
  await stepOf(cancelled.orderId, 'logistics.assign');
  expect((await cancel(cancelled.orderId)).status).toBe(202);
  const ends = await Promise.all([well, refused, cancelled].map(({ orderId }) => endOf(orderId)));
  expect(ends.map(({ status }) => status)).toEqual(['DISPATCHED', 'CANCELLED', 'CANCELLED']);

  const unmet = async () => (await faultsSet()).filter(({ hits }) => hits === 0).map(({ at }) => at);
  await eventually('every point was met', async () => (await unmet()).length === 0).catch(() => {});
  expect(await unmet()).toEqual([]);
  const hits = Object.fromEntries((await faultsSet()).map((fault) => [fault.at, fault.hits]));
  expect(hits['order.place.before-commit']).toBe(3);
  expect(hits['payment.refund.after-publish-before-ack']).toBe(2);
  expect(hits['logistics.unassign.before-commit']).toBe(1);
});
