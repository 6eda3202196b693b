import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideCharges } from '#services/payment/decide.ts';

const customers = ['asha', 'ravi', 'meera'] as const;
const balances = fc
  .record({ asha: fc.nat(1_000), ravi: fc.nat(50), meera: fc.constant(0) }, { requiredKeys: ['asha'] })
  .map((record) => new Map(Object.entries(record) as [string, number][]));
const charges = fc.array(
  fc.record({
    orderId: fc.uuid(),
    customerId: fc.constantFrom(...customers, 'stranger'),
    amount: fc.nat(400),
  }),
  { maxLength: 40 },
);

/** What each customer pays in all, by the outcomes. */
function paidBy(list: { customerId: string; amount: number }[], outcomes: ReturnType<typeof decideCharges>) {
  const paid = new Map<string, number>();
  list.forEach(({ customerId, amount }, index) => {
    if (outcomes[index]?.outcome !== 'done') return;
    paid.set(customerId, (paid.get(customerId) ?? 0) + amount);
  });
  return paid;
}

describe('When a batch of charges is decided', () => {
  test('then nobody pays more than they have, and a refusal takes nothing', () => {
    fc.assert(
      fc.property(balances, charges, (before, list) => {
        for (const [customerId, paid] of paidBy(list, decideCharges(before, list))) {
          expect(paid).toBeLessThanOrEqual(before.get(customerId) ?? -1);
        }
      }),
    );
  });

  test('then a done charge takes exactly its amount', () => {
    fc.assert(
      fc.property(balances, charges, (before, list) => {
        decideCharges(before, list).forEach((outcome, index) => {
          if (outcome.outcome === 'done') expect(outcome.result).toEqual({ charged: list[index]?.amount });
        });
      }),
    );
  });

  test('then it is as if they had come one at a time, in their order', () => {
    fc.assert(
      fc.property(balances, charges, (before, list) => {
        const left = new Map(before);
        const oneByOne = list.map((charge) => {
          const [outcome] = decideCharges(left, [charge]);
          if (outcome?.outcome === 'done') {
            left.set(charge.customerId, (left.get(charge.customerId) ?? 0) - charge.amount);
          }
          return outcome;
        });
        expect(decideCharges(before, list)).toEqual(oneByOne);
      }),
    );
  });

  test('then a refusal means that the money was not there, and says so', () => {
    fc.assert(
      fc.property(balances, charges, (before, list) => {
        const outcomes = decideCharges(before, list);
        list.forEach((charge, index) => {
          const outcome = outcomes[index];
          if (outcome?.outcome !== 'refused') return;
          const paidEarlier = paidBy(list.slice(0, index), outcomes).get(charge.customerId) ?? 0;
          const balance = before.get(charge.customerId);
          if (balance === undefined) expect(outcome.reason).toBe('unknown customer');
          else {
            expect(outcome.reason).toBe('insufficient funds');
            expect(balance - paidEarlier).toBeLessThan(charge.amount);
          }
        });
      }),
    );
  });

  test('then what was read is left as it was', () => {
    fc.assert(
      fc.property(balances, charges, (before, list) => {
        const copy = structuredClone({ before, list });
        decideCharges(before, list);
        expect({ before, list }).toEqual(copy);
      }),
    );
  });
});
