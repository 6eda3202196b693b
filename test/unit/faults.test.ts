import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type OrderFault, orderFault } from '#libs/contracts/orders.ts';
import { type Fault, fault, inScope } from '#libs/faults/fault.ts';
import { readOrderFaults, writeOrderFaults } from '#libs/faults/order-faults.ts';
import { faultFlaw, faultPoints } from '#libs/faults/points.ts';

const at = fc.constantFrom(...Object.keys(faultPoints));
const anyFault: fc.Arbitrary<OrderFault> = fc.oneof(
  fc.record({ at, do: fc.constant('refuse' as const) }),
  fc.record({ at, do: fc.constant('delay' as const), ms: fc.integer({ min: 1, max: 60_000 }) }),
  fc.record({ at, do: fc.constant('error' as const), times: fc.integer({ min: 1, max: 20 }) }),
);

describe('When an order carries faults', () => {
  test('then they are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(anyFault, { minLength: 1, maxLength: 8 }), (faults) => {
        for (const one of faults) expect(orderFault.safeParse(one).success).toBe(true);
        const text = writeOrderFaults(faults);
        expect(text?.length).toBeLessThanOrEqual(500);
        expect(readOrderFaults(text)).toEqual(
          faults.map((one) => ({ at: one.at, do: one.do, ms: one.ms ?? 0, times: one.times ?? 1 })),
        );
      }),
    );
  });

  test('then none is written as nothing, and nothing is read as none', () => {
    expect(writeOrderFaults([])).toBeUndefined();
    expect(readOrderFaults(undefined)).toEqual([]);
  });

  test('then a delay without a length lasts a second, and an error spoils one attempt', () => {
    const text = writeOrderFaults([
      { at: 'order.confirm', do: 'delay' },
      { at: 'payment.refund', do: 'error' },
    ]);
    expect(text).toBe('order.confirm=delay:1000 payment.refund=error*1');
  });

  test('then text of a newer producer is passed over, not stumbled over', () => {
    const text = 'order.confirm=explode payment.charge=refuse ???';
    expect(readOrderFaults(text)).toEqual([{ at: 'payment.charge', do: 'refuse', ms: 0, times: 1 }]);
    fc.assert(fc.property(fc.string(), (any) => Array.isArray(readOrderFaults(any))));
  });
});

const subject = { orderId: '', customerId: 'asha', dishIds: 'masala-dosa,dish-001' };
const noon = new Date('2026-01-01T12:00:00Z');
const faultOf = (over: object): Fault =>
  fault.parse({ id: 'f', at: 'payment.charge', do: 'refuse', ...over });

describe('When a fault is set for a share of the orders', () => {
  const ids = fc.sample(fc.uuid(), { numRuns: 10_000, seed: 11 });
  const hit = (scope: object) =>
    ids.filter((orderId) => inScope(faultOf({ scope }), { ...subject, orderId }, noon));

  test.each([0.01, 0.1, 0.5, 0.9])('then it meets about that share of them (%d)', (share) => {
    // Six standard deviations: chance does not fail it, a bias does.
    const slack = 6 * Math.sqrt((share * (1 - share)) / ids.length);
    expect(Math.abs(hit({ share }).length / ids.length - share)).toBeLessThan(slack);
  });

  test('then the same seed draws the same orders, and another seed others', () => {
    expect(hit({ share: 0.2, seed: 5 })).toEqual(hit({ share: 0.2, seed: 5 }));
    expect(hit({ share: 0.2, seed: 5 })).not.toEqual(hit({ share: 0.2, seed: 6 }));
  });

  test('then a larger share meets all the orders that a smaller one does', () => {
    const large = new Set(hit({ share: 0.3 }));
    expect(hit({ share: 0.1 }).every((orderId) => large.has(orderId))).toBe(true);
  });

  test('then orders that follow each other in time are drawn apart', () => {
    const near = Array.from(
      { length: 1_000 },
      (_, n) => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`,
    );
    const met = near.filter((orderId) =>
      inScope(faultOf({ scope: { share: 0.5 } }), { ...subject, orderId }, noon),
    );
    expect(met.length).toBeGreaterThan(400);
    expect(met.length).toBeLessThan(600);
  });
});

describe('When a fault has a scope', () => {
  const orderId = '01890000-0000-7000-8000-000000000001';
  const other = '01890000-0000-7000-8000-000000000002';
  test.each([
    [{ scope: { orderId } }, true],
    [{ scope: { orderId: other } }, false],
    [{ scope: { customerId: 'asha' } }, true],
    [{ scope: { customerId: 'ravi' } }, false],
    [{ scope: { dishId: 'dish-001' } }, true],
    [{ scope: { dishId: 'dish-00' } }, false],
    [{ scope: { customerId: 'asha', dishId: 'dish-002' } }, false],
    [{ scope: {}, until: '2026-01-01T12:00:01Z' }, true],
    [{ scope: {}, until: '2026-01-01T12:00:00Z' }, false],
  ])('then %j meets this order: %s', (over, expected) => {
    expect(inScope(faultOf(over), { ...subject, orderId }, noon)).toBe(expected);
  });
});

describe('When a fault is asked for at a point', () => {
  test('then only a point and an action that exist have no flaw', () => {
    expect(faultFlaw({ at: 'payment.charge', do: 'refuse' })).toBeNull();
    expect(faultFlaw({ at: 'payment.refund', do: 'refuse' })).toContain('cannot refuse');
    for (const name of ['payment.chargee', 'toString', '__proto__', '']) {
      expect(faultFlaw({ at: name, do: 'error' })).toContain('no fault point');
    }
  });
});
