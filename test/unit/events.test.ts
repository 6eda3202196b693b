import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type EventType, eventTypeNames, eventTypes, parseEvent } from '#libs/contracts/events.ts';
import { orderFaultsCharsMax } from '#libs/contracts/orders.ts';
import { someEvent } from '../support/events.ts';

const anyItems = fc.array(
  fc.record({
    dishId: fc.string({ minLength: 1, maxLength: 60 }),
    quantity: fc.integer({ min: 1, max: 50 }),
  }),
  { minLength: 1, maxLength: 20 },
);
const anyField: Record<string, fc.Arbitrary<unknown>> = {
  city: fc.string(),
  items: anyItems,
  total: fc.nat(1_000_000_000),
  reason: fc.string({ maxLength: 200 }),
  courierId: fc.string(),
};

/** Any event of this type that the schema accepts. */
function anyEvent(type: EventType) {
  const fields = Object.keys(eventTypes[type].data.shape);
  return fc
    .record({
      id: fc.uuid(),
      subject: fc.uuid(),
      causationid: fc.uuid(),
      lamport: fc.integer({ min: 1, max: 2 ** 31 }),
      customerid: fc.string({ maxLength: 60 }),
      faults: fc.option(fc.string({ maxLength: orderFaultsCharsMax }), { nil: undefined }),
      data: fc.record(Object.fromEntries(fields.map((name) => [name, anyField[name] ?? fc.constant(null)]))),
    })
    .map(({ faults, ...over }) => someEvent(type, { ...over, ...(faults ? { faults } : {}) } as never));
}

describe.each(eventTypeNames)('When %s goes over the wire', (type) => {
  test('then it comes back as it was', () => {
    fc.assert(
      fc.property(anyEvent(type), (event) => {
        expect(parseEvent(JSON.parse(JSON.stringify(event)))).toEqual({ ok: true, event });
      }),
      { numRuns: 30 },
    );
  });

  test('then another service than its own cannot have said it', () => {
    const source = eventTypes[type].source === 'payment' ? 'order' : 'payment';
    expect(parseEvent({ ...someEvent(type), source })).toEqual({
      ok: false,
      reason: `source: ${type} is not ${source}'s to say`,
    });
  });

  test('then each field of its data that is missing or wrong is refused by its name', () => {
    for (const field of Object.keys(eventTypes[type].data.shape)) {
      const event = someEvent(type);
      for (const wrong of [undefined, null, -1, { a: 1 }]) {
        const parsed = parseEvent({ ...event, data: { ...event.data, [field]: wrong } });
        expect(parsed).toMatchObject({ ok: false, reason: expect.stringMatching(`^data\\.${field}: `) });
      }
    }
    expect(parseEvent({ ...someEvent(type), data: undefined })).toMatchObject({ ok: false });
  });
});

describe('When a field of the envelope is broken', () => {
  const good = someEvent('payment.failed');
  const broken: [keyof typeof good | 'faults', unknown[]][] = [
    ['specversion', [undefined, '0.3', 1]],
    ['id', [undefined, 'seven', 7]],
    ['source', [undefined, 7, 'x'.repeat(41)]],
    ['type', [undefined, null, 'x'.repeat(61), 'payment.exploded', 'toString', '__proto__']],
    ['subject', [undefined, 'an order', '']],
    ['time', [undefined, 'yesterday', 1_700_000_000]],
    ['traceparent', [undefined, '00-abc-def-01', `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01`]],
    ['causationid', [undefined, '', 1]],
    ['lamport', [undefined, 0, -1, 1.5, '2']],
    ['customerid', [undefined, 5, 'x'.repeat(61)]],
    ['dishids', [undefined, ['masala-dosa'], 'x'.repeat(1_301)]],
    ['faults', [5, 'x'.repeat(orderFaultsCharsMax + 1)]],
  ];

  test.each(broken)('then %s is named in the refusal', (field, values) => {
    expect(parseEvent(good)).toMatchObject({ ok: true });
    for (const value of values) {
      expect(parseEvent({ ...good, [field]: value }), String(value)).toMatchObject({
        ok: false,
        reason: expect.stringMatching(`^${field}: `),
      });
    }
  });

  test('then what is no object at all is refused as a whole', () => {
    for (const value of [null, undefined, 5, 'event', []]) {
      expect(parseEvent(value)).toMatchObject({ ok: false });
    }
  });

  test('then no JSON value makes the parser throw', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(parseEvent(value).ok).toBe(false);
      }),
    );
  });
});
