import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import { orderParams, placeOrderBody } from '#libs/contracts/orders.ts';
import { Problem, type ProblemCode, problems } from '#libs/contracts/problems.ts';
import { page } from '#libs/service/page.ts';
import { readIdempotencyKey, readWaitMs } from '#services/console/preferences.ts';

const visible = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((n) => String.fromCharCode(n)) });
const quoted = /^".*"$/;
const key = visible.filter((text) => text.length > 0 && text.length <= 200 && !quoted.test(text));

describe('When a request has an Idempotency-Key', () => {
  test('then the quoted and the bare form are the same key', () => {
    fc.assert(
      fc.property(key, (text) => {
        expect(readIdempotencyKey(text)).toBe(text);
        expect(readIdempotencyKey(`"${text}"`)).toBe(text);
      }),
    );
    expect(readIdempotencyKey(undefined)).toBeUndefined();
  });

  test.each(['', '""', ' ', 'a b', 'a\tb', 'ключ', 'x'.repeat(201), ['a', 'b c']])(
    'then %j is refused with the name of the header',
    (header) => {
      expect(() => readIdempotencyKey(header)).toThrow(
        expect.objectContaining({
          code: 'invalid-idempotency-key',
          errors: [expect.objectContaining({ field: 'Idempotency-Key' })],
        }),
      );
    },
  );

  test('then the order has an id of its own, the same every time, that is a UUID', () => {
    fc.assert(
      fc.property(key, key, (one, other) => {
        const orderId = orderIdOf(one);
        expect(orderId).toBe(orderIdOf(one));
        expect(orderParams.safeParse({ orderId }).success).toBe(true);
        expect(orderId[14]).toBe('8');
        if (one !== other) expect(orderId).not.toBe(orderIdOf(other));
      }),
    );
  });
});

test.each([
  [undefined, 0],
  ['', 0],
  ['wait=5', 5_000],
  ['respond-async, wait=5', 5_000],
  ['wait=5;foo=bar', 5_000],
  ['wait=31', 30_000],
  ['wait=9999', 30_000],
  ['wait=0', 0],
  ['wait=-1', 0],
  ['wait=five', 0],
  ['await=5', 0],
  ['wait=99999', 0],
])('When the Prefer header is %j, then the wait is %d ms', (header, expected) => {
  expect(readWaitMs(header)).toBe(expected);
});

describe('The registry of problems', () => {
  const codes = Object.keys(problems) as ProblemCode[];

  test.each(codes)('%s has a status of an error, a title, and a body by RFC 9457', (code) => {
    const problem = new Problem(code, 'in detail', { errors: [{ field: 'city', message: 'no' }] });
    expect(problem.status).toBeGreaterThanOrEqual(400);
    expect(problem.status).toBeLessThan(600);
    expect(problem.toBody()).toEqual({
      type: `/problems/${code}`,
      title: problems[code].title,
      status: problems[code].status,
      code,
      detail: 'in detail',
      errors: [{ field: 'city', message: 'no' }],
    });
    expect(new Problem(code).toBody()).not.toHaveProperty('detail');
  });

  test('gives every code a title of its own', () => {
    expect(new Set(codes.map((code) => problems[code].title)).size).toBe(codes.length);
  });
});

describe('When a list is read page by page', () => {
  const rows = fc.uniqueArray(fc.integer(), { maxLength: 60 }).map((list) => list.sort((a, b) => a - b));
  test('then every row is seen once, in order, and the last page has no cursor', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 20 }), (all, limit) => {
        const seen: number[] = [];
        let cursor: string | null = null;
        for (let pages = 0; pages === 0 || cursor !== null; pages++) {
          const after = cursor === null ? all : all.filter((row) => row > Number(cursor));
          const answer: { items: number[]; nextCursor: string | null } = page(
            after.slice(0, limit + 1),
            limit,
            String,
          );
          seen.push(...answer.items);
          cursor = answer.nextCursor;
          expect(pages).toBeLessThanOrEqual(all.length);
        }
        expect(seen).toEqual(all);
      }),
    );
  });
});

describe('When an order is parsed at the door', () => {
  const good = {
    customerId: 'asha',
    city: 'bengaluru',
    items: [{ dishId: 'masala-dosa', quantity: 1 }],
  };
  test('then the defaults are the saga and no fault', () => {
    expect(placeOrderBody.parse(good)).toEqual({ ...good, protocol: 'saga', twoPhase: 'single', faults: [] });
  });

  test('then no JSON value makes it throw, and none but an order is one', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(placeOrderBody.safeParse(value).success).toBe(false);
      }),
    );
  });
});
