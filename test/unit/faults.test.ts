import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  faultActions,
  type OrderFault,
  orderFault,
  orderFaultsCharsMax,
  orderFaultsMax,
} from '#libs/contracts/orders.ts';
import { type Fault, fault, inScope } from '#libs/faults/fault.ts';
import { createHangs } from '#libs/faults/hangs.ts';
import { readOrderFaults, writeOrderFaults } from '#libs/faults/order-faults.ts';
import { carriedFlaw, faultFlaw, faultPoints, setFlaw, steps } from '#libs/faults/points.ts';

const at = fc.constantFrom(...Object.keys(faultPoints));
const anyFault: fc.Arbitrary<OrderFault> = fc.oneof(
  fc.record({ at, do: fc.constant('refuse' as const) }),
  fc.record({ at, do: fc.constant('delay' as const), ms: fc.integer({ min: 1, max: 60_000 }) }),
  fc.record({
    at,
    do: fc.constantFrom('error', 'crash', 'hang', 'duplicate', 'drop-ack'),
    times: fc.integer({ min: 1, max: 20 }),
  }),
);

describe('When an order carries faults', () => {
  test('then they are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(anyFault, { minLength: 1, maxLength: 8 }), (faults) => {
        for (const one of faults) expect(orderFault.safeParse(one).success).toBe(true);
        const text = writeOrderFaults(faults);
        expect(text?.length).toBeLessThanOrEqual(orderFaultsCharsMax);
        expect(readOrderFaults(text)).toEqual(
          faults.map((one) => ({ at: one.at, do: one.do, ms: one.ms ?? 0, times: one.times ?? 1 })),
        );
      }),
    );
  });

  test('then the longest of them fit into an event', () => {
    const longest = Object.keys(faultPoints).sort((a, b) => b.length - a.length)[0] ?? '';
    const fault = { at: longest, do: 'duplicate', times: 20 } as const;
    const text = writeOrderFaults(Array.from({ length: orderFaultsMax }, () => fault));
    expect(text?.length).toBeGreaterThan(orderFaultsCharsMax / 2);
    expect(text?.length).toBeLessThanOrEqual(orderFaultsCharsMax);
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

describe('The registry of fault points', () => {
  const points = Object.entries(faultPoints);

  test('gives every step and undo the same points between its writes and its acknowledgement', () => {
    for (const { at } of steps) {
      const own = points.filter(([name]) => name.startsWith(`${at}.`) && faultPoints[name]?.kind === 'saga');
      expect(own.map(([name]) => name.slice(at.length + 1))).toEqual([
        'before-commit',
        'after-commit-before-publish',
        'after-publish-before-ack',
      ]);
      for (const [, { actions }] of own)
        expect(actions).toEqual(expect.arrayContaining(['crash', 'delay', 'hang']));
    }
  });

  test('has names and texts that fit where they go, and no action without a place', () => {
    for (const [at, { actions, shows, look }] of points) {
      expect(fault.safeParse({ id: 'f', at, do: actions[0] }).success, at).toBe(true);
      expect(orderFault.safeParse({ at, do: actions[0] }).success, at).toBe(true);
      expect(new Set(actions).size).toBe(actions.length);
      expect(
        [shows, look].every((text) => text.length > 10),
        at,
      ).toBe(true);
    }
    expect(new Set(points.flatMap(([, { actions }]) => actions))).toEqual(new Set(faultActions));
  });

  test('takes a scope of orders everywhere but where no order is known yet', () => {
    const scope = { seed: 1, customerId: 'asha' };
    expect(setFlaw({ at: 'payment.charge.before-commit', do: 'crash', scope })).toBeNull();
    expect(setFlaw({ at: 'order.http', do: 'crash', scope })).toContain('before a request is read');
    expect(setFlaw({ at: 'order.http', do: 'crash', scope: { seed: 1, share: 0.1 } })).toBeNull();
    expect(carriedFlaw({ at: 'order.http', do: 'crash' })).toContain('none can carry it');
    expect(carriedFlaw({ at: 'payment.charge.before-commit', do: 'hang' })).toBeNull();
  });
});

describe('Whoever hangs', () => {
  const set = (revision: number, ...faultIds: string[]) => ({ revision, faultIds: new Set(faultIds) });
  const isOver = (hang: Promise<void>) =>
    Promise.race([hang.then(() => true), new Promise((resolve) => setImmediate(resolve, false))]);

  test('goes on when its fault is gone, and not when another one is', async () => {
    const hangs = createHangs();
    hangs.heard(set(1, 'a', 'b'));
    const hang = hangs.wait('a');
    hangs.heard(set(2, 'a'));
    expect(await isOver(hang)).toBe(false);
    hangs.heard(set(3, 'c'));
    expect(await isOver(hang)).toBe(true);
  });

  test('for an order that carries its fault goes on with a reset, and not with a second look at none', async () => {
    const hangs = createHangs();
    hangs.heard(set(4));
    const hang = hangs.wait(null);
    hangs.heard(set(4));
    hangs.heard(set(5, 'a'));
    expect(await isOver(hang)).toBe(false);
    hangs.heard(set(6));
    expect(await isOver(hang)).toBe(true);
  });

  test('goes on when the process stops, and nobody hangs after that', async () => {
    const hangs = createHangs();
    const hang = hangs.wait('a');
    hangs.stop();
    expect(await isOver(hang)).toBe(true);
    expect(await isOver(hangs.wait('a'))).toBe(true);
  });

  test('goes on at the time of its end', async () => {
    const hangs = createHangs();
    const startedMs = performance.now();
    await hangs.wait('a', new Date(Date.now() + 50).toISOString());
    expect(performance.now() - startedMs).toBeGreaterThan(40);
  });
});
