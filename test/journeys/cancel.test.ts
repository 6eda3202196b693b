import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import type { OrderStatus } from '#libs/contracts/orders.ts';
import {
  call,
  cancel,
  endOf,
  holdings,
  orderOf,
  place,
  somebody,
  stepOf,
  timelineOf,
  typesOf,
} from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';

afterAll(expectInvariants);

const chain = [
  'order.cancellation.requested',
  'logistics.unassigned',
  'inventory.released',
  'payment.refunded',
  'order.cancelled',
];
/** Longer than the way to the held step and back, shorter than the deadline. */
const holdMs = 2_500;

type State = { name: string; held: string; before: string; status: OrderStatus; undone: string[] };

/** Every state that an order can be cancelled in: held at a step, after the one before. */
const states: State[] = [
  { name: 'placed', held: 'payment.charge', before: 'order.place', status: 'PENDING', undone: [] },
  {
    name: 'charged',
    held: 'inventory.reserve',
    before: 'payment.charge',
    status: 'PENDING',
    undone: ['payment.refund'],
  },
  {
    name: 'reserved',
    held: 'order.confirm',
    before: 'inventory.reserve',
    status: 'PENDING',
    undone: ['inventory.release', 'payment.refund'],
  },
  {
    name: 'confirmed',
    held: 'logistics.assign',
    before: 'order.confirm',
    status: 'CONFIRMED',
    undone: ['inventory.release', 'payment.refund'],
  },
  {
    name: 'assigned',
    held: 'order.dispatch',
    before: 'logistics.assign',
    status: 'CONFIRMED',
    undone: ['logistics.unassign', 'inventory.release', 'payment.refund'],
  },
];

describe.concurrent('When an order is cancelled that is', () => {
  test.each(states)('F7: $name, then everything comes back, and the late step is barred', async (state) => {
    const who = somebody();
    const before = await holdings(who);
    const { orderId } = await place({
      customerId: who.customerId,
      items: [{ dishId: who.dishId, quantity: 4 }],
      faults: [{ at: state.held, do: 'delay', ms: holdMs }],
    });
    await stepOf(orderId, state.before);
    expect((await orderOf(orderId)).status).toBe(state.status);
    const answer = await cancel(orderId, { reason: 'too slow' });
    // On a busy machine the whole chain may be through before the answer is.
    const answers = [202, 'CANCELLING', 200, 'CANCELLED'];
    expect(answers.join()).toContain([answer.status, answer.body.status].join());
    expect(await endOf(orderId)).toMatchObject({ status: 'CANCELLED', reason: 'too slow' });
    expect(await holdings(who)).toEqual(before);

    // The held step comes after the end: it must find the bar, or an order that does not move any more.
    await new Promise((resolve) => setTimeout(resolve, holdMs));
    const timeline = await timelineOf(orderId);
    const held = timeline.find(({ step }) => step === state.held);
    if (state.held.startsWith('order.')) expect(held).toMatchObject({ outcome: 'refused', type: null });
    else expect(held).toMatchObject({ outcome: 'barred', type: null });
    // What went forward meanwhile is concurrent with the chain, and may stand between its links.
    expect(typesOf(timeline).filter((type) => chain.includes(type))).toEqual(chain);
    expect(typesOf(timeline).at(-1)).toBe('order.cancelled');
    const undos = ['logistics.unassign', 'inventory.release', 'payment.refund'];
    expect(
      undos.filter((undo) => timeline.some(({ step, outcome }) => step === undo && outcome === 'done')),
    ).toEqual(state.undone);
    expect(undos.filter((undo) => timeline.some(({ step }) => step === undo))).toEqual(undos);
    expect(await orderOf(orderId)).toMatchObject({ status: 'CANCELLED' });
    expect(await holdings(who)).toEqual(before);
  });
});

describe.concurrent('When an order is late', () => {
  test('then its deadline cancels it, whatever it waits for', async () => {
    const who = somebody();
    const before = await holdings(who);
    const { orderId, createdAt } = await place({
      customerId: who.customerId,
      faults: [{ at: 'inventory.reserve', do: 'delay', ms: 15_000 }],
    });
    const order = await endOf(orderId);
    expect(order).toMatchObject({ status: 'CANCELLED', reason: 'deadline passed' });
    expect(Date.parse(order.endedAt ?? '') - Date.parse(createdAt)).toBeGreaterThanOrEqual(6_000);
    expect(await holdings(who)).toEqual(before);
  });
});

describe('When a cancellation is asked for', () => {
  test('of a dispatched order, then it is refused and the order stands', async () => {
    const { orderId } = await place();
    await endOf(orderId);
    const answer = await cancel(orderId);
    expect([answer.status, answer.body.code]).toEqual([409, 'order-already-dispatched']);
    expect(await orderOf(orderId)).toMatchObject({ status: 'DISPATCHED', reason: null });
  });

  test('twice, then the second changes nothing, and the reason is the first one', async () => {
    const { orderId } = await place({ faults: [{ at: 'inventory.reserve', do: 'delay', ms: 1_000 }] });
    const [first, second] = await Promise.all([cancel(orderId, { reason: 'one' }), cancel(orderId)]);
    expect([first.status, second.status]).toEqual([202, 202]);
    const order = await endOf(orderId);
    const third = await cancel(orderId);
    expect([third.status, third.body]).toEqual([200, order]);
    const asked = (await timelineOf(orderId)).filter(({ step }) => step === 'order.request-cancellation');
    expect(asked).toHaveLength(1);
    expect(['one', 'cancelled by customer']).toContain(order.reason);
  });

  test('of an order that does not exist, then 404', async () => {
    const answer = await cancel(randomUUID());
    expect([answer.status, answer.body.code]).toEqual([404, 'not-found']);
  });

  test('with a bad body, then 400 and the order goes on', async () => {
    const { orderId } = await place();
    for (const body of [{ reason: '' }, { reason: 5 }, { why: 'x' }, { reason: 'x'.repeat(121) }, []]) {
      const answer = await cancel(orderId, body);
      expect([answer.status, answer.body.code], JSON.stringify(body)).toEqual([400, 'invalid-request']);
    }
    expect(await endOf(orderId)).toMatchObject({ status: 'DISPATCHED' });
  });
});

describe('When cancellations race the dispatch, many times', () => {
  const rounds = 80;
  const spreadMs = 450;
  /** On a busy machine all others may come too late: the first has seconds, and the last has none. */
  const dispatchMsOf = (round: number) => (round === 0 ? 5_000 : 150);
  const isLast = (round: number) => round === rounds - 1;

  test('then an accepted one wins and a refused one loses', async () => {
    const results = await Promise.all(
      Array.from({ length: rounds }, async (_, round) => {
        const { orderId } = await place({
          faults: [{ at: 'order.dispatch', do: 'delay', ms: dispatchMsOf(round) }],
        });
        await new Promise((resolve) => setTimeout(resolve, (round * spreadMs) / rounds));
        if (isLast(round)) await endOf(orderId);
        const { status } = await cancel(orderId);
        return { status, end: (await endOf(orderId)).status };
      }),
    );
    for (const { status, end } of results) {
      expect([200, 202, 409]).toContain(status);
      expect(end).toBe(status === 409 ? 'DISPATCHED' : 'CANCELLED');
    }
    expect([results[0]?.end, results.at(-1)?.end]).toEqual(['CANCELLED', 'DISPATCHED']);
  });
});

describe('When cancelled orders are asked for', () => {
  test('then only those are listed', async () => {
    const answer = await call<{ items: { status: string }[] }>('GET', '/api/orders?status=CANCELLED&limit=5');
    expect(answer.body.items.map(({ status }) => status)).toEqual(Array(5).fill('CANCELLED'));
  });
});
