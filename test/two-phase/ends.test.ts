import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import type { Order, OrderFault } from '#libs/contracts/orders.ts';
import {
  balanceOf,
  call,
  cancel,
  endOf,
  get,
  holdings,
  type ProblemBody,
  place,
  placedInTest,
  somebody,
  stepOf,
  stockOf,
  timelineOf,
  typesOf,
} from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask, metric } from '../support/service.ts';
import {
  allOfIt,
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
const pick = <T>(list: readonly T[], index: number): T => list[index % list.length] as T;

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

  test('then what is asked later is what was answered, and the customer is told', async () => {
    const answer = await placeIn2pc();
    expect(answer.status, answer.text).toBe(201);
    const { orderId } = answer.body;
    await oneOutcomeOf(orderId);
    expect(await get<Order>(`/api/orders/${orderId}`)).toEqual(answer.body);
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
        'notification.notify-dispatched',
      ]
        .map((step) => `${step} done 1`)
        .sort(),
    );
    const told = await get<{ items: object[] }>(`/api/notifications?orderId=${orderId}`);
    expect(told.items).toEqual([expect.objectContaining({ orderId, kind: 'dispatched' })]);
  });

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

describe('When an order is placed under an Idempotency-Key', () => {
  const cases: { name: string; order: TwoPhaseRequest; status: number }[] = [
    { name: 'and is dispatched', order: {}, status: 201 },
    { name: 'and is refused', order: { customerId: 'ravi' }, status: 409 },
    { name: 'and is refused in a group', order: { city: 'lonavala', twoPhase: 'grouped' }, status: 409 },
  ];
  test.each(cases)('$name, then a repeat gets the same answer, byte for byte', async ({ order, status }) => {
    const { key, orderId } = keyed();
    const first = await placeIn2pc(order, key);
    const again = await placeIn2pc(order, key);
    expect(first.status, first.text).toBe(status);
    expect([again.status, again.text]).toEqual([first.status, first.text]);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    if (status === 201) expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await transactionsOf(orderId)).toHaveLength(1);
  });

  test.each(cases)('$name, then another body under the key is refused', async ({ order }) => {
    const { key } = keyed();
    await placeIn2pc(order, key);
    const other = await placeIn2pc({ ...order, items: [{ dishId: 'masala-dosa', quantity: 2 }] }, key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
  });

  test('and was one of the saga, then two-phase commit does not place it again', async () => {
    const { key, orderId } = keyed();
    await place({}, { 'idempotency-key': key });
    await endOf(orderId);
    const other = await placeIn2pc({}, key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
    expect(await standingOf(orderId)).toEqual(allOfIt);
  });

  test('twice at once, then there is one order, and the second is told so', async () => {
    const { key, orderId } = keyed();
    const over: TwoPhaseRequest = { faults: [{ at: 'payment.charge', do: 'delay', ms: 700 }] };
    const first = placeIn2pc(over, key);
    const second = await eventually('a conflict', async () => {
      const answer = await placeIn2pc(over, key);
      return answer.status === 409 ? answer.body : undefined;
    });
    expect(second.code).toBe('idempotency-key-in-flight');
    expect((await first).status).toBe(201);
    expect((await transactionsOf(orderId)).map(({ decision }) => decision)).toEqual(['commit']);
  });

  test('twice at once past the gateway, then the databases let one of them through', async () => {
    const { orderId } = keyed();
    const who = somebody();
    const before = await holdings(who);
    const body = bodyOf({ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] });
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`;
    const one = { orderId, keyed: true, traceparent, body };
    const answer = await ask('coordinator', 'POST', '/orders', JSON.stringify({ orders: [one, one, one] }));
    const answers = answer.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).answer);
    expect(answers).toHaveLength(3);
    const finished = answers.filter((each) => each.finished);
    expect(finished.length).toBeGreaterThan(0);
    for (const each of finished) expect(each.finished).toEqual(finished[0].finished);
    for (const { problem } of answers.filter((each) => each.problem)) {
      expect(problem.code).toBe('idempotency-key-in-flight');
    }
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 1);
  });
});

describe('When many orders share their transactions', () => {
  test('then the refused ones are cancelled with their reason, and the others are dispatched', async () => {
    const who = somebody();
    const before = await holdings(who);
    const items = [{ dishId: who.dishId, quantity: 1 }];
    const kinds: { order: TwoPhaseRequest; reason: string | null }[] = [
      { order: { customerId: who.customerId, items }, reason: null },
      { order: { customerId: 'ravi', items }, reason: 'insufficient funds' },
      { order: { customerId: who.customerId, items }, reason: null },
      {
        order: { customerId: who.customerId, items: [...items, { dishId: 'truffle-thali', quantity: 1 }] },
        reason: 'out of stock: truffle-thali',
      },
      { order: { customerId: who.customerId, items }, reason: null },
      { order: { customerId: who.customerId, items, city: 'lonavala' }, reason: 'no courier in lonavala' },
      { order: { customerId: who.customerId, items }, reason: null },
      {
        order: { customerId: who.customerId, items, faults: refuseAt('order.place') },
        reason: 'injected refusal at order.place',
      },
    ];
    const count = 40;
    const size = (part: string) =>
      metric('coordinator', new RegExp(`^two_phase_group_size_${part}.*"grouped"`));
    const [ordersBefore, groupsBefore] = [await size('sum'), await size('count')];
    const placed = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const { key, orderId } = keyed();
        const { order, reason } = pick(kinds, index);
        return { orderId, reason, answer: await placeIn2pc({ ...order, twoPhase: 'grouped' }, key) };
      }),
    );
    const [orders, groups] = [(await size('sum')) - ordersBefore, (await size('count')) - groupsBefore];
    expect(orders).toBeGreaterThanOrEqual(count);
    expect(groups).toBeLessThan(orders / 2);

    for (const { orderId, reason, answer } of placed) {
      const isRefused = reason !== null;
      expect([answer.status, answer.body.detail ?? null], answer.text).toEqual([
        isRefused ? 409 : 201,
        reason,
      ]);
      expect(await get<Order>(`/api/orders/${orderId}`)).toMatchObject({
        status: isRefused ? 'CANCELLED' : 'DISPATCHED',
        reason,
      });
      const { order, payment, inventory, logistics } = await eventually('it is everywhere', async () => {
        const found = await standingOf(orderId);
        return isRefused || found.logistics ? found : undefined;
      });
      if (!isRefused) expect({ order, payment, inventory, logistics }).toEqual(allOfIt);
      else
        expect(['charged', 'reserved', 'assigned', 'DISPATCHED']).not.toContain(
          payment ?? inventory ?? logistics,
        );
    }
    const stands = placed.filter(({ reason }) => reason === null);
    const total = stands.reduce((sum, { answer }) => sum + answer.body.total, 0);
    expect(await holdings(who)).toEqual({
      balance: before.balance - total,
      stock: { free: before.stock.free - stands.length, reserved: before.stock.reserved + stands.length },
    });
  });
});

describe('When saga and two-phase commit work on the same wallets and dishes', () => {
  test('then no money and no portion is lost between them', async () => {
    const people = [somebody(), somebody(), somebody()];
    const before = await Promise.all(people.map(holdings));
    const count = 36;
    const placed = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const { customerId } = pick(people, index);
        // Both dishes of every order in two orders of lines: locks are taken by key, not as they come.
        const dishes = [pick(people, index), pick(people, index + 1 + (index % 2))];
        const items = dishes.map(({ dishId }) => ({ dishId, quantity: 1 }));
        if (index % 3 === 0) return endOf((await place({ customerId, items })).orderId);
        const twoPhase = index % 3 === 1 ? 'single' : 'grouped';
        const answer = await placeIn2pc({ customerId, items, twoPhase });
        expect(answer.status, answer.text).toBe(201);
        return answer.body;
      }),
    );
    for (const { orderId, status } of placed) expect(status, orderId).toBe('DISPATCHED');
    for (const { orderId } of placed) placedInTest.push(orderId);
    const bought = (customerId: string) =>
      placed.filter((order) => order.customerId === customerId).reduce((sum, { total }) => sum + total, 0);
    const portions = (dishId: string) =>
      placed.flatMap(({ items }) => items).filter((item) => item.dishId === dishId).length;
    await eventually('all have arrived', async () => {
      const standing = await Promise.all(placed.map(({ orderId }) => standingOf(orderId)));
      expect(standing).toEqual(standing.map(() => allOfIt));
      return true;
    });
    for (const [index, { customerId, dishId }] of people.entries()) {
      const was = before[index];
      expect(await balanceOf(customerId)).toBe((was?.balance ?? 0) - bought(customerId));
      expect((await stockOf(dishId)).reserved).toBe((was?.stock.reserved ?? 0) + portions(dishId));
    }
  });
});

describe('When an order carries a fault for which two-phase commit has no turn', () => {
  test.each(['order.confirm', 'payment.refund'])('at %s, then it is not met', async (at) => {
    const service = at.slice(0, at.indexOf('.'));
    const doing = at === 'order.confirm' ? 'refuse' : 'error';
    const before = await firedAt(service, at, doing);
    const answer = await placeIn2pc({ faults: [{ at, do: doing }] }, randomUUID());
    expect([answer.status, answer.body.status]).toEqual([201, 'DISPATCHED']);
    expect(await firedAt(service, at, doing)).toBe(before);
  });
});

test('When nothing of an order stands, then the databases have no row of it', async () => {
  const { key, orderId } = keyed();
  expect((await placeIn2pc({ city: 'lonavala' }, key)).status).toBe(409);
  expect(await standingOf(orderId)).toEqual(nothingOfIt);
});
