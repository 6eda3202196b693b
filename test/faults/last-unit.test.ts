/** Row F33 of the fault matrix: many want the last portion at once, and no isolation level is asked to save it. */
import { afterAll, describe, expect, test } from 'vitest';
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import { endOf, eventuallyAll, holdings, place, somebody } from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';
import { placeIn2pc, type TwoPhaseRequest } from '../support/two-phase.ts';
import { write } from '../support/write.ts';

afterAll(expectInvariants);

const slowMs = 90_000;
const wanting = 100;
const soldOut = (dishId: string) => `out of stock: ${dishId}`;

type Way = (requests: TwoPhaseRequest[]) => Promise<string[]>;
const people = Array.from(
  { length: wanting },
  (_, index) => `customer-${String(index + 500).padStart(4, '0')}`,
);

/** All portions but one are sold before: to nobody, so that the sums stay what they are. */
async function leaveOne(who: { dishId: string; customerId: string }): Promise<() => Promise<void>> {
  const { free } = (await holdings(who)).stock;
  const set = 'update stock set free = free + $2 where dish_id = $1';
  await write('inventory', set, [who.dishId, 1 - free]);
  return async () => void (await write('inventory', set, [who.dishId, free - 1]));
}

describe('F33: a hundred orders want the last portion at once', { timeout: slowMs }, () => {
  /** All at once, until each is at its end. */
  const inSaga: Way = async (requests) => {
    const placed = await Promise.all(requests.map((request) => place(request)));
    return eventuallyAll(placed, async ({ orderId }) => (await endOf(orderId, slowMs)).status);
  };
  const in2pc =
    (twoPhase: TwoPhaseMode): Way =>
    (requests) =>
      Promise.all(
        requests.map(async (request) => {
          // Whoever is told to try again has lost nothing, and tries again.
          for (;;) {
            const { status, body, text } = await placeIn2pc({ ...request, twoPhase });
            if (status === 503) continue;
            expect([201, 409], text).toContain(status);
            return status === 201 ? 'DISPATCHED' : (body.detail ?? '');
          }
        }),
      );

  test.each<[string, Way, (dishId: string) => string]>([
    ['of the saga', inSaga, () => 'CANCELLED'],
    ['of two-phase commit, one by one', in2pc('single'), soldOut],
    ['of two-phase commit, in groups', in2pc('grouped'), soldOut],
  ])('%s: one gets it, and nothing is sold twice', async (_, order, refusal) => {
    const who = somebody();
    const { reserved } = (await holdings(who)).stock;
    const giveBack = await leaveOne(who);
    try {
      const items = [{ dishId: who.dishId, quantity: 1 }];
      const ends = await order(people.map((customerId) => ({ customerId, items })));
      expect(ends.toSorted()).toEqual(
        [...Array(wanting - 1).fill(refusal(who.dishId)), 'DISPATCHED'].toSorted(),
      );
      expect((await holdings(who)).stock).toMatchObject({ free: 0, reserved: reserved + 1 });
    } finally {
      await giveBack();
    }
  });
});
