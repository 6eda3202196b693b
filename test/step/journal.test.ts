import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPayments, type Payments } from '../support/payments.ts';
import type { World } from '../support/world.ts';

let payments: Payments;
let world: World;

beforeAll(async () => {
  payments = await openPayments();
  world = payments.world;
});
beforeEach(() => payments.reset());
afterAll(() => world[Symbol.asyncDispose]());

const charge: Payments['charge'] = (...args) => payments.charge(...args);
const balances = () => payments.balances();
const refund: Payments['refund'] = (...args) => payments.refund(...args);
const ids5 = () => Array.from({ length: 5 }, () => randomUUID()) as [string, string, string, string, string];
const journalOf = (orderId: string) =>
  world.query(
    `select direction, outcome, event_type as say, lamport from journal where order_id = $1 order by direction`,
    [orderId],
  );
const said = async () =>
  (
    await world.query<{ subject: string; events: number }>(
      'select subject, events from outbox order by subject',
    )
  ).map(({ subject, events }) => `${events} ${subject}`);

describe('When the same event comes twice', () => {
  test('then it has one effect and says one event', async () => {
    const intent = charge(randomUUID());
    const first = await world.run(intent);
    const second = await world.run(intent);
    expect(first.verdicts[0]).toMatchObject({ standing: 'applied', event: { type: 'payment.completed' } });
    expect(second.verdicts[0]).toMatchObject({ standing: 'repeat', outcome: null, event: null });
    expect(second.messages).toEqual([]);
    expect(await balances()).toMatchObject({ asha: 990 });
    expect(await said()).toEqual(['1 payment.completed']);
  });

  test('then it is the same business fact under another event id too', async () => {
    const orderId = randomUUID();
    await world.run(charge(orderId));
    expect((await world.run(charge(orderId, 500))).verdicts[0]?.standing).toBe('repeat');
    expect(await balances()).toMatchObject({ asha: 990 });
  });
});

describe('When an undo comes and the step never ran', () => {
  test('then it undoes nothing, passes the word on, and bars the late step', async () => {
    const orderId = randomUUID();
    const undone = await world.run(refund(orderId));
    expect(undone.verdicts[0]).toMatchObject({ standing: 'empty', event: { type: 'payment.refunded' } });
    const late = await world.run(charge(orderId));
    expect(late.verdicts[0]).toMatchObject({ standing: 'repeat', event: null });
    expect(late.messages).toEqual([]);
    expect(await balances()).toMatchObject({ asha: 1_000 });
    expect(await journalOf(orderId)).toEqual([
      { direction: 'do', outcome: 'barred', say: null, lamport: 6 },
      { direction: 'undo', outcome: 'empty', say: 'payment.refunded', lamport: 6 },
    ]);
  });

  test('then the reason travels along', async () => {
    const { messages } = await world.run(refund(randomUUID()));
    expect(JSON.parse(messages[0]?.body ?? '')).toMatchObject([{ data: { reason: 'sold out' }, lamport: 6 }]);
  });
});

describe('When an undo comes after its step', () => {
  test('then it is taken back once, however often and by whatever event it is asked for', async () => {
    const orderId = randomUUID();
    await world.run(charge(orderId, 300));
    const first = await world.run(refund(orderId));
    const again = await world.run(refund(orderId));
    const other = await world.run(refund(orderId, 'inventory.released'));
    expect(first.verdicts[0]).toMatchObject({ standing: 'applied', outcome: { outcome: 'done' } });
    for (const { verdicts, messages } of [again, other]) {
      expect(verdicts[0]).toMatchObject({ standing: 'repeat', event: null });
      expect(messages).toEqual([]);
    }
    expect(await balances()).toMatchObject({ asha: 1_000 });
    expect(await said()).toEqual(['1 payment.completed', '1 payment.refunded']);
  });

  test('then it is later in logical time than the step, even when its cause is not', async () => {
    const orderId = randomUUID();
    const items = [{ dishId: 'dosa', quantity: 1 }];
    const late = { orderId, lamport: 20, data: { city: 'pune', items, total: 10 } };
    await world.run(world.intent('order.placement.requested', late));
    const { verdicts } = await world.run(refund(orderId, 'inventory.failed', 3));
    expect(verdicts[0]?.event?.lamport).toBe(22);
  });
});

describe('When a refused step is undone', () => {
  test('then there is nothing to undo, and the word is passed on', async () => {
    const orderId = randomUUID();
    const refusal = await world.run(charge(orderId, 10, 'ravi'));
    expect(refusal.verdicts[0]).toMatchObject({
      outcome: { outcome: 'refused', reason: 'insufficient funds' },
      event: { type: 'payment.failed', data: { reason: 'insufficient funds' } },
    });
    const undone = await world.run(refund(orderId));
    expect(undone.verdicts[0]).toMatchObject({ standing: 'empty', event: { type: 'payment.refunded' } });
    expect(await balances()).toEqual({ asha: 1_000, meera: 100, ravi: 0 });
  });
});

describe('When a batch holds all sorts', () => {
  test('then each is decided in its order, against what the ones before it left', async () => {
    const ids = Array.from({ length: 5 }, () => randomUUID());
    const amounts = [60, 60, 40, 1, 900];
    const customers = ['meera', 'meera', 'meera', 'meera', 'asha'];
    const { verdicts } = await world.run(
      ...ids.map((id, index) => charge(id, amounts[index], customers[index])),
    );
    expect(verdicts.map(({ outcome }) => outcome?.outcome)).toEqual([
      'done',
      'refused',
      'done',
      'refused',
      'done',
    ]);
    expect(verdicts.map(({ event }) => event?.subject)).toEqual(ids);
    expect(await balances()).toEqual({ asha: 100, meera: 0, ravi: 0 });
    expect(await said()).toEqual(['3 payment.completed', '2 payment.failed']);
  });

  test('then steps, undos, repeats and empty undos stand together in one transaction', async () => {
    const [old, never, fresh, repeated, poor] = ids5();
    await world.run(charge(old, 100), charge(repeated, 7));
    const { verdicts } = await world.run(
      charge(fresh, 50),
      refund(old),
      charge(repeated, 7),
      refund(never),
      charge(poor, 1, 'ravi'),
    );
    expect(verdicts.map(({ standing }) => standing)).toEqual([
      'applied',
      'applied',
      'repeat',
      'empty',
      'applied',
    ]);
    expect(verdicts.map(({ event }) => event?.type)).toEqual([
      'payment.completed',
      'payment.refunded',
      undefined,
      'payment.refunded',
      'payment.failed',
    ]);
    expect(await balances()).toEqual({ asha: 1_000 - 50 - 7, meera: 100, ravi: 0 });
  });

  test('then an injected refusal says the failure without asking the step', async () => {
    const { verdicts } = await world.run(
      charge(randomUUID(), 10, 'asha', { refusal: 'on purpose' }),
      charge(randomUUID(), 10),
    );
    expect(verdicts.map(({ event }) => event?.type)).toEqual(['payment.failed', 'payment.completed']);
    expect(await balances()).toMatchObject({ asha: 990 });
  });

  test('then more events than a message may hold make two messages', async () => {
    const { messages } = await world.run(...Array.from({ length: 300 }, () => charge(randomUUID(), 1)));
    expect(messages.map(({ events }) => events)).toEqual([256, 44]);
    expect(
      new Set(messages.flatMap(({ body }) => JSON.parse(body).map(({ id }: { id: string }) => id))).size,
    ).toBe(300);
    expect(await balances()).toMatchObject({ asha: 700 });
  });
});
