import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { orderStatuses } from '#libs/contracts/orders.ts';
import { decideAssignments } from '#services/logistics/decide.ts';
import { decideText } from '#services/notification/decide.ts';
import { decideMove, type Move, moves } from '#services/order/decide.ts';

describe('When couriers are assigned', () => {
  const couriersOf = new Map([
    ['bengaluru', ['a', 'b', 'c']],
    ['pune', ['d']],
    ['lonavala', []],
  ]);
  const assigns = fc.array(
    fc.record({ orderId: fc.uuid(), city: fc.constantFrom('bengaluru', 'pune', 'lonavala', 'atlantis') }),
    { maxLength: 30 },
  );

  test('then each comes from the city of its order, and a city without couriers refuses', () => {
    fc.assert(
      fc.property(assigns, (list) => {
        const outcomes = decideAssignments(couriersOf, list);
        expect(outcomes).toHaveLength(list.length);
        list.forEach(({ city }, index) => {
          const outcome = outcomes[index];
          const couriers = couriersOf.get(city) ?? [];
          if (outcome?.outcome === 'done') expect(couriers).toContain(outcome.result.courierId);
          else expect([outcome?.reason, couriers]).toEqual([`no courier in ${city}`, []]);
        });
      }),
    );
  });

  test('then the same order draws the same courier, whatever it is batched with', () => {
    fc.assert(
      fc.property(assigns, (list) => {
        const alone = list.map((assign) => decideAssignments(couriersOf, [assign])[0]);
        expect(decideAssignments(couriersOf, list)).toEqual(alone);
      }),
    );
  });

  test('then every courier gets a share of many orders', () => {
    const ids = fc.sample(fc.uuid(), { numRuns: 600, seed: 7 });
    const outcomes = decideAssignments(
      couriersOf,
      ids.map((orderId) => ({ orderId, city: 'bengaluru' })),
    );
    const counts = Map.groupBy(outcomes, (outcome) =>
      outcome.outcome === 'done' ? outcome.result.courierId : 'none',
    );
    for (const courier of ['a', 'b', 'c']) {
      expect(counts.get(courier)?.length, courier).toBeGreaterThan(120);
    }
  });
});

describe('When an order is asked to move', () => {
  /** The moves of an order, written out once more on purpose: a change there must be a change here. */
  const allowed = [
    'PENDING confirm CONFIRMED',
    'CONFIRMED dispatch DISPATCHED',
    'PENDING request-cancellation CANCELLING',
    'CONFIRMED request-cancellation CANCELLING',
    'PENDING cancel CANCELLED',
    'CONFIRMED cancel CANCELLED',
    'CANCELLING cancel CANCELLED',
  ];

  test('then only the moves of the design are allowed, and every other says why not', () => {
    const found: string[] = [];
    for (const move of Object.keys(moves) as Move[]) {
      for (const status of orderStatuses) {
        const decision = decideMove(status, move);
        if (decision.allowed) found.push(`${status} ${move} ${moves[move].to}`);
        else expect(decision.reason).toBe(`the order is ${status}`);
      }
      expect(decideMove(undefined, move)).toEqual({ allowed: false, reason: 'unknown order' });
    }
    expect(found.sort()).toEqual(allowed.sort());
  });

  test('then an end is never left', () => {
    for (const move of Object.keys(moves) as Move[]) {
      expect(decideMove('DISPATCHED', move).allowed, move).toBe(false);
      expect(decideMove('CANCELLED', move).allowed, move).toBe(false);
    }
  });
});

test('When an order is cancelled, then the customer reads why, and that the money comes back', () => {
  expect(decideText('cancelled', 'no courier in lonavala')).toBe(
    'Sorry, your order was cancelled (no courier in lonavala), refund initiated.',
  );
  expect(decideText('confirmed', '')).not.toBe(decideText('dispatched', ''));
});
