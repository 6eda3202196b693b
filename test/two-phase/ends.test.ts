import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import type { Order, OrderFault } from '#libs/contracts/orders.ts';
import {
  call,
  cancel,
  get,
  holdings,
  type ProblemBody,
  somebody,
  stepOf,
  stockOf,
  timelineOf,
  typesOf,
} from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';
import {
  bodyOf,
  firedAt,
  keyed,
  nothingOfIt,
  oneOutcomeOf,
  placeIn2pc,
  standingOf,
  type TwoPhaseRequest,
  transactionsOf,
} from '../support/two-phase.ts';

afterAll(expectInvariants, 120_000);

const refuseAt = (at: string): OrderFault[] => [{ at, do: 'refuse' }];
const modes = ['single', 'grouped', 'unordered'] as const;

describe('When nothing stands in the way of a two-phase commit', () => {
  test.each(modes)(
    'then an order (%s) is dispatched with its answer, in every database',
    async (twoPhase) => {
      const who = somebody();
      const before = await holdings(who);
      const couriers = async () =>
        (await get<{ items: { assigned: number }[] }>('/api/couriers')).items.reduce(
          (sum, { assigned }) => sum + assigned,
          0,
        );
      const couriersBefore = await couriers();
      const items = [{ dishId: who.dishId, quantity: 3 }];
      const answer = await placeIn2pc({ customerId: who.customerId, items, twoPhase });
      expect(answer.status, answer.text).toBe(201);
      const { orderId, total } = answer.body;
      expect(answer.body).toMatchObject({ status: 'DISPATCHED', protocol: '2pc', reason: null, items });
      expect(answer.headers.get('location')).toBe(`/api/orders/${orderId}`);
      expect(await oneOutcomeOf(orderId)).toBe('commit');
      expect(await holdings(who)).toEqual({
        balance: before.balance - total,
        stock: { free: before.stock.free - 3, reserved: before.stock.reserved + 3 },
      });
      expect(await couriers()).toBe(couriersBefore + 1);
    },
  );

  test.each(modes)(
    'then what is asked later is what was answered, and the customer is told (%s)',
    async (twoPhase) => {
      const answer = await placeIn2pc({ twoPhase });
      expect(answer.status, answer.text).toBe(201);
      const { orderId } = answer.body;
      await oneOutcomeOf(orderId);
      expect.soft(await get<Order>(`/api/orders/${orderId}`)).toEqual(answer.body);
      await stepOf(orderId, 'notification.notify-dispatched');
      const timeline = await timelineOf(orderId);
      expect(typesOf(timeline)).toEqual(['order.dispatched']);
      expect(timeline.map(({ step, outcome, attempt }) => `${step} ${outcome} ${attempt}`).sort()).toEqual(
        [
          'order.place',
          'payment.charge',
          'inventory.reserve',
          'logistics.assign',
          'order.confirm',
          'order.dispatch',
          'two-phase.commit',
          'notification.notify-dispatched',
        ]
          .map((step) => `${step} done 1`)
          .sort(),
      );
      const told = await get<{ items: object[] }>(`/api/notifications?orderId=${orderId}`);
      expect(told.items).toEqual([expect.objectContaining({ orderId, kind: 'dispatched' })]);
    },
  );

  test('then it cannot be cancelled any more', async () => {
    const { orderId } = (await placeIn2pc()).body;
    const answer = await cancel(orderId);
    expect([answer.status, answer.body.code]).toEqual([409, 'order-already-dispatched']);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
  });
});

type Refusal = { name: string; order: TwoPhaseRequest; reason: string; fired?: [string, string] };

const refusals: Refusal[] = [
  { name: 'the wallet is empty', order: { customerId: 'ravi' }, reason: 'insufficient funds' },
  {
    name: 'nobody has heard of the customer',
    order: { customerId: 'a-stranger' },
    reason: 'unknown customer',
  },
  {
    name: 'the dish is sold out',
    order: { items: [{ dishId: 'truffle-thali', quantity: 1 }] },
    reason: 'out of stock: truffle-thali',
  },
  { name: 'the city has no courier', order: { city: 'lonavala' }, reason: 'no courier in lonavala' },
  ...(['order.place', 'payment.charge', 'inventory.reserve', 'logistics.assign'] as const).map(
    (at): Refusal => ({
      name: `${at} is refused on purpose`,
      order: { faults: refuseAt(at) },
      reason: `injected refusal at ${at}`,
      fired: [at.slice(0, at.indexOf('.')), at],
    }),
  ),
];

describe('When a participant refuses', () => {
  const rows = refusals.flatMap((row) => modes.map((twoPhase) => ({ ...row, twoPhase })));

  test.each(rows)('because $name ($twoPhase), then nothing of the order stands', async (row) => {
    const { order, reason, twoPhase, fired } = row;
    const own = somebody();
    const dishId = order.items?.[0]?.dishId ?? own.dishId;
    const customerId = order.customerId ?? own.customerId;
    const isKnown = customerId !== 'a-stranger';
    const look = () => (isKnown ? holdings({ customerId, dishId }) : stockOf(dishId));
    const before = await look();
    const hitsBefore = fired ? await firedAt(...fired, 'refuse') : 0;
    const items = [{ dishId, quantity: 2 }];
    const answer = await placeIn2pc({ items, ...order, customerId, twoPhase });
    expect([answer.status, answer.body.code, answer.body.detail]).toEqual([
      409,
      'order-refused-by-participant',
      reason,
    ]);
    if (fired) expect(await firedAt(...fired, 'refuse')).toBe(hitsBefore + 1);
    const asked = await get<Order>(answer.body.instance ?? '');
    expect(asked).toMatchObject({ status: 'CANCELLED', protocol: '2pc', reason, customerId });
    expect(answer.body.instance).toBe(`/api/orders/${asked.orderId}`);
    expect(await oneOutcomeOf(asked.orderId)).toBe('abort');
    expect(await look()).toEqual(before);
  });
});

describe('When a closing step is refused on purpose', () => {
  test.each(['order.confirm', 'order.dispatch'])('at %s, then nothing of the order stands', async (at) => {
    const who = somebody();
    const look = () => holdings(who);
    const before = await look();
    const items = [{ dishId: who.dishId, quantity: 2 }];
    const answer = await placeIn2pc({ customerId: who.customerId, items, faults: refuseAt(at) });
    expect([answer.status, answer.body.detail]).toEqual([409, `injected refusal at ${at}`]);
    expect(await look()).toEqual(before);
  });
});

describe('When the body of an order is wrong', () => {
  const good = bodyOf();
  test.each<[string, object, [number, string, string]]>([
    ['an unknown mode', { ...good, twoPhase: 'triple' }, [400, 'invalid-request', 'twoPhase']],
    ['no items', { ...good, items: [] }, [400, 'invalid-request', 'items']],
    ['an unknown field', { ...good, tip: 5 }, [400, 'invalid-request', 'tip']],
    ['an unknown city', { ...good, city: 'atlantis' }, [422, 'unknown-city', 'city']],
    [
      'an unknown dish',
      { ...good, items: [{ dishId: 'x', quantity: 1 }] },
      [422, 'unknown-dish', 'items.0.dishId'],
    ],
    [
      'a crash where nothing crashes',
      { ...good, faults: [{ at: 'payment.charge', do: 'crash' }] },
      [422, 'unknown-fault-point', 'faults.0'],
    ],
  ])('then %s is refused with its place, and nothing begins', async (_, body, [status, code, field]) => {
    const { key, orderId } = keyed();
    const headers = { 'idempotency-key': key };
    const answer = await call<ProblemBody>('POST', '/api/orders', { body, headers });
    expect([answer.status, answer.body.code, answer.body.errors?.[0]?.field]).toEqual([status, code, field]);
    expect(await transactionsOf(orderId)).toEqual([]);
  });
});

describe('When a step fails for a moment', () => {
  const points = ['order.place', 'payment.charge', 'inventory.reserve', 'logistics.assign'];
  test.each(points)('at %s, then the transaction is aborted, and another one commits', async (at) => {
    const service = at.slice(0, at.indexOf('.'));
    const before = await firedAt(service, at, 'error');
    const answer = await placeIn2pc({ faults: [{ at, do: 'error', times: 2 }] });
    expect(answer.status, answer.text).toBe(201);
    expect(await firedAt(service, at, 'error')).toBe(before + 2);
    expect(await oneOutcomeOf(answer.body.orderId)).toBe('commit');
    const decisions = (await transactionsOf(answer.body.orderId)).map(({ decision }) => decision);
    expect(decisions).toEqual(['abort', 'abort', 'commit']);
    expect((await stepOf(answer.body.orderId, at)).attempt).toBe(3);
    expect((await stepOf(answer.body.orderId, 'two-phase.commit')).attempt).toBe(3);
  });

  test('and again at every attempt, then it is given up, and nothing of it stands', async () => {
    const { key, orderId } = keyed();
    const answer = await placeIn2pc({ faults: [{ at: 'inventory.reserve', do: 'error', times: 20 }] }, key);
    expect([answer.status, answer.body.code]).toEqual([503, 'transaction-aborted']);
    expect(answer.body.detail).toContain('injected error at inventory.reserve');
    expect(await oneOutcomeOf(orderId)).toBe('abort');
    expect((await call('GET', `/api/orders/${orderId}`)).status).toBe(404);
  });
});

describe('When an order carries a fault for which two-phase commit has no turn', () => {
  test('then it is not met: nothing is undone alone', async () => {
    const before = await firedAt('payment', 'payment.refund', 'error');
    const answer = await placeIn2pc({ faults: [{ at: 'payment.refund', do: 'error' }] }, randomUUID());
    expect([answer.status, answer.body.status]).toEqual([201, 'DISPATCHED']);
    expect(await firedAt('payment', 'payment.refund', 'error')).toBe(before);
  });
});

test('When nothing of an order stands, then the databases have no row of it', async () => {
  const { key, orderId } = keyed();
  expect((await placeIn2pc({ city: 'lonavala' }, key)).status).toBe(409);
  expect(await standingOf(orderId)).toEqual(nothingOfIt);
});
