import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideReservations, type Reserve } from '#services/inventory/decide.ts';

const dish = fc.constantFrom('dosa', 'idli', 'thali', 'not-on-the-menu');
const free = fc
  .record({ dosa: fc.nat(60), idli: fc.nat(8), thali: fc.constant(0) })
  .map((record) => new Map(Object.entries(record) as [string, number][]));
// A dish may stand in two lines: HTTP refuses that, but the event's schema does not.
const items = fc.array(fc.record({ dishId: dish, quantity: fc.integer({ min: 1, max: 9 }) }), {
  minLength: 1,
  maxLength: 4,
});
const reserves = fc.array(fc.record({ orderId: fc.uuid(), items }), { maxLength: 30 });

function takenBy(list: readonly Reserve[], outcomes: ReturnType<typeof decideReservations>) {
  const taken = new Map<string, number>();
  list.forEach((reserve, index) => {
    if (outcomes[index]?.outcome !== 'done') return;
    for (const { dishId, quantity } of reserve.items) {
      taken.set(dishId, (taken.get(dishId) ?? 0) + quantity);
    }
  });
  return taken;
}

describe('When a batch of reservations is decided', () => {
  test('then no dish is promised more often than it is there', () => {
    fc.assert(
      fc.property(free, reserves, (before, list) => {
        for (const [dishId, taken] of takenBy(list, decideReservations(before, list))) {
          expect(taken, dishId).toBeLessThanOrEqual(before.get(dishId) ?? -1);
        }
      }),
    );
  });

  test('then it is as if they had come one at a time, all of an order or none of it', () => {
    fc.assert(
      fc.property(free, reserves, (before, list) => {
        const left = new Map(before);
        const oneByOne = list.map((reserve) => {
          const outcomes = decideReservations(left, [reserve]);
          for (const [dishId, taken] of takenBy([reserve], outcomes)) {
            left.set(dishId, (left.get(dishId) ?? 0) - taken);
          }
          return outcomes[0];
        });
        expect(decideReservations(before, list)).toEqual(oneByOne);
      }),
    );
  });

  test('then a refusal names a dish that was short or unknown', () => {
    fc.assert(
      fc.property(free, reserves, (before, list) => {
        const outcomes = decideReservations(before, list);
        list.forEach((reserve, index) => {
          const outcome = outcomes[index];
          if (outcome?.outcome !== 'refused') return;
          const taken = takenBy(list.slice(0, index), outcomes);
          const short = reserve.items.find(({ dishId }) => outcome.reason.endsWith(dishId));
          const wanted = reserve.items
            .filter(({ dishId }) => dishId === short?.dishId)
            .reduce((sum, { quantity }) => sum + quantity, 0);
          const available = (before.get(short?.dishId ?? '') ?? 0) - (taken.get(short?.dishId ?? '') ?? 0);
          expect(wanted).toBeGreaterThan(available);
        });
      }),
    );
  });

  test('then what was read is left as it was', () => {
    fc.assert(
      fc.property(free, reserves, (before, list) => {
        const copy = structuredClone({ before, list });
        decideReservations(before, list);
        expect({ before, list }).toEqual(copy);
      }),
    );
  });
});
