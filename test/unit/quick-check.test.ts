import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { envelope, eventTypeNames, eventTypes, parseData, parseEvent } from '#libs/contracts/events.ts';
import { quickCheck } from '#libs/contracts/quick-check.ts';
import { someEvent } from '../support/events.ts';

/** Values near what a schema takes: right ones, spoiled in one place or not at all. */
const spoiled = fc.oneof(
  fc.constantFrom(
    undefined,
    null,
    -1,
    0,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 53,
    '',
    '\0',
    '\ud800',
    [],
    {},
  ),
  fc.jsonValue(),
);

describe.each(eventTypeNames)('When %s is looked at quickly', (type) => {
  const { source, data } = eventTypes[type];
  const whole = envelope.extend({ type: z.literal(type), source: z.literal(source), data });
  const check = quickCheck(whole);

  test('then a right one is taken as it is', () => {
    const event = someEvent(type);
    expect(parseEvent(event)).toEqual({ ok: true, event });
    expect((parseEvent(event) as { event: unknown }).event).toBe(event);
    expect(parseData(type, event.data)).toBe(event.data);
  });

  test('then whatever it takes the schema takes too, unchanged', () => {
    const event = someEvent(type);
    const keys = [...Object.keys(envelope.shape), 'unknown', '__proto__'];
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.boolean(), spoiled, (key, inData, value) => {
        const at = inData ? { ...event, data: { ...event.data, [key]: value } } : { ...event, [key]: value };
        const parsed = whole.safeParse(at);
        const isUnchanged = parsed.success && isDeepStrictEqual(parsed.data, at);
        if (check(at)) expect(isUnchanged, fc.stringify(at)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('When a field of the data is spoiled', () => {
  const schema = eventTypes['order.placement.requested'].data;
  const check = quickCheck(schema);
  const right = { city: 'pune', items: [{ dishId: 'dosa', quantity: 1 }], total: 100 };

  test('then quick look and schema agree', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('city', 'total', 'items', 'dishId', 'quantity'),
        spoiled,
        (field, value) => {
          const item = { dishId: 'dosa', quantity: 1, ...(field in right ? {} : { [field]: value }) };
          const at = { ...right, items: [item], ...(field in right ? { [field]: value } : {}) };
          expect(check(at), fc.stringify(at)).toBe(schema.safeParse(at).success);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('When a schema changes what it takes, or is not known', () => {
  test.each([
    ['coerces', z.coerce.number()],
    ['transforms', z.string().transform(Number)],
    ['has a default', z.object({ a: z.string().default('x') })],
    ['trims', z.string().trim()],
    ['is strict', z.strictObject({ a: z.string() })],
    ['is a format with code of its own', z.url()],
  ])('then there is no quick look: it %s', (_how, schema) => {
    expect(() => quickCheck(schema)).toThrow('no quick check');
  });
});
