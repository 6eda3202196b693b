import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { type Intent, transact } from '#libs/step/transact.ts';
import { inventory } from '#services/inventory/service.ts';
import { order } from '#services/order/service.ts';
import { payment } from '#services/payment/service.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let orderId: string;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets');
  await world.query(`insert into wallets values ('asha', 1000)`);
  orderId = randomUUID();
});
afterAll(() => world[Symbol.asyncDispose]());

const data = { city: 'pune', items: [{ dishId: 'dosa', quantity: 1 }], total: 100 };
const charge = () => world.intent('order.placement.requested', { orderId, data });
const refund = () => world.intent('inventory.released', { orderId, lamport: 4, data: { reason: 'late' } });
const balance = async () =>
  (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;

class Abandoned extends Error {}

/** A transaction that has done its work and stays open until it is told how to end. */
function openTransaction(intent: Intent) {
  const worked = Promise.withResolvers<void>();
  const end = Promise.withResolvers<'commit' | 'abandon'>();
  const ended = runThenCommit(world.pool, async (tx) => {
    await transact(tx, [intent], world.tools);
    worked.resolve();
    if ((await end.promise) === 'abandon') throw new Abandoned();
  });
  ended.catch(worked.reject); // A transaction that fails before its work is told where it is awaited.
  return {
    worked: worked.promise,
    ended,
    commit: () => end.resolve('commit'),
    abandon: () => end.resolve('abandon'),
  };
}

/** Starts it, waits until the database says that it waits for a lock, and gives how to hear of its end. */
async function started(intent: Intent) {
  const running = world.run(intent);
  running.catch(() => {}); // Told where it is awaited.
  await eventually('it waits for the open transaction', async () => {
    const [row] = await world.query<{ waiting: number }>(
      `select count(*)::int as waiting from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return row?.waiting === 1;
  });
  return async () => (await running).verdicts[0];
}

describe('F7: When an undo meets its step in a transaction that is still open', () => {
  test('then it waits; once the step has committed it really undoes it', async () => {
    const forward = openTransaction(charge());
    await forward.worked;
    const undo = await started(refund());
    forward.commit();
    await forward.ended;
    expect(await undo()).toMatchObject({ standing: 'applied', event: { type: 'payment.refunded' } });
    expect(await balance()).toBe(1_000);
    expect(await world.query('select status from payments')).toEqual([{ status: 'refunded' }]);
  });

  test('then it waits; once the step is rolled back there is nothing to undo, and it is barred', async () => {
    const forward = openTransaction(charge());
    await forward.worked;
    const undo = await started(refund());
    forward.abandon();
    await expect(forward.ended).rejects.toThrow(Abandoned);
    expect(await undo()).toMatchObject({ standing: 'empty', event: { type: 'payment.refunded' } });
    const { verdicts } = await world.run(charge());
    expect(verdicts[0]?.standing).toBe('repeat');
    expect(await balance()).toBe(1_000);
  });
});

describe('When a step meets its undo in a transaction that is still open', () => {
  test('then it waits; once the undo has committed the step is barred', async () => {
    const undo = openTransaction(refund());
    await undo.worked;
    const forward = await started(charge());
    undo.commit();
    await undo.ended;
    expect(await forward()).toMatchObject({ standing: 'repeat', event: null });
    expect(await balance()).toBe(1_000);
  });

  test('then it waits; once the undo is rolled back the step runs', async () => {
    const undo = openTransaction(refund());
    await undo.worked;
    const forward = await started(charge());
    undo.abandon();
    await expect(undo.ended).rejects.toThrow(Abandoned);
    expect(await forward()).toMatchObject({ standing: 'applied', event: { type: 'payment.completed' } });
    expect(await balance()).toBe(900);
  });
});

describe('When the same event is handled twice at the same time', () => {
  test('then one has the effect and the other none', async () => {
    const first = openTransaction(charge());
    await first.worked;
    const second = await started(charge());
    first.commit();
    await first.ended;
    expect(await second()).toMatchObject({ standing: 'repeat', event: null });
    expect(await balance()).toBe(900);
  });
});

describe('When two transactions want the same hot rows in opposite order', () => {
  const rounds = 60;
  const hot = Array.from({ length: 12 }, (_, index) => `hot-${index}`);
  const both = (target: World, one: Intent[], other: Intent[]) =>
    Promise.all([target.run(...one), target.run(...other)]);

  test('then wallets never deadlock, steps and undos mixed', async () => {
    for (const customerId of hot) await world.query(`insert into wallets values ($1, 1000000)`, [customerId]);
    for (let round = 0; round < rounds; round++) {
      const old = hot.map((customerId) => ({ customerId, orderId: randomUUID() }));
      const charges = () =>
        hot.map((customerId) => world.intent('order.placement.requested', { customerId, data }));
      await world.run(...old.map((cause) => world.intent('order.placement.requested', { ...cause, data })));
      const undos = old.map((cause) =>
        world.intent('inventory.failed', { ...cause, lamport: 3, data: { reason: 'x' } }),
      );
      await both(world, [...charges(), ...undos], [...charges().reverse(), ...undos.slice(0, 6).reverse()]);
    }
    const [sum] = await world.query<{ charged: number; balance: number }>(
      `select (select sum(amount) from payments where status = 'charged')::bigint as charged,
              (select sum(balance) from wallets)::bigint as balance`,
    );
    expect((sum?.charged ?? 0) + (sum?.balance ?? 0)).toBe(1_000 + hot.length * 1_000_000);
  });

  test('then dishes never deadlock', async () => {
    await using stock = await openWorld(
      inject('adminUrl'),
      inventory,
      hot.map((dishId) => `insert into stock values ('${dishId}', 'x', 1, 100000, 0)`),
    );
    const items = hot.map((dishId) => ({ dishId, quantity: 1 }));
    const reserve = (list: typeof items) => stock.intent('payment.completed', { data: { items: list } });
    for (let round = 0; round < rounds; round++) {
      const forwards = items.map((item, index) => reserve([item, items[(index + 1) % items.length] ?? item]));
      const backwards = items.toReversed().map((item) => reserve([item]));
      await both(stock, forwards, backwards);
    }
    const [sum] = await stock.query<{ reserved: number; free: number }>(
      'select sum(reserved)::bigint as reserved, sum(free)::bigint as free from stock',
    );
    expect(sum).toEqual({
      reserved: rounds * hot.length * 3,
      free: 100_000 * hot.length - rounds * hot.length * 3,
    });
  });

  test('then orders never deadlock, confirmed from one side and cancelled from the other', async () => {
    await using orders = await openWorld(inject('adminUrl'), order);
    for (let round = 0; round < rounds / 2; round++) {
      const ids = hot.map(() => randomUUID());
      await orders.run(...ids.map((id) => orders.intent('request:place-order', placing(id))));
      const confirms = ids.map((id) => orders.intent('inventory.reserved', { orderId: id, lamport: 3 }));
      const cancels = ids
        .toReversed()
        .map((id) =>
          orders.intent('request:cancel-order', { orderId: id, lamport: 0, data: { reason: 'x' } }),
        );
      const dispatches = ids
        .toReversed()
        .map((id) => orders.intent('logistics.assigned', { orderId: id, data: { courierId: 'c' } }));
      await Promise.all([orders.run(...confirms), orders.run(...cancels), orders.run(...dispatches)]);
      const left = await orders.query<{ status: string }>(
        'select distinct status from orders where order_id = any($1::uuid[])',
        [ids],
      );
      for (const { status } of left) expect(['CANCELLING', 'DISPATCHED']).toContain(status);
    }
  });
});

const placing = (id: string) => ({
  orderId: id,
  lamport: 0,
  data: {
    ...data,
    protocol: 'saga',
    customerId: 'asha',
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
    faults: undefined,
    bodyHash: 'hash',
    createdAt: new Date(),
    deadline: new Date(Date.now() + 60_000),
  },
});
