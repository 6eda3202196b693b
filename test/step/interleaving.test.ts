/**
 * A small saga over the real reactions of four services, its events delivered in any order, any number of
 * times, batched by chance, with cancellations in between: whatever the order, money and stock are conserved
 * and every order ends with all of its steps or none.
 */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { SagaEvent } from '#libs/contracts/events.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { presumingFirst } from '#libs/step/journal.ts';
import type { Cause } from '#libs/step/reaction.ts';
import { type Intent, transact } from '#libs/step/transact.ts';
import { inventory } from '#services/inventory/service.ts';
import { logistics } from '#services/logistics/service.ts';
import { order } from '#services/order/service.ts';
import { payment } from '#services/payment/service.ts';
import { causeOfEvent, openWorld, reactionOf, someCause, type World } from '../support/world.ts';

const money = 1_000;
const portions = 50;
const runs = 120;
const deliveriesMax = 2_000;
const runsMs = 120_000;

let worlds: World[];
beforeAll(async () => {
  const open = (definition: typeof order, seed: string[] = []) =>
    openWorld(inject('adminUrl'), definition, seed);
  worlds = await Promise.all([
    open(order),
    open(payment),
    open(inventory),
    open(logistics, [`insert into couriers values ('c1', 'Courier', 'pune')`]),
  ]);
});
afterAll(() => Promise.all(worlds.map((world) => world[Symbol.asyncDispose]())));

type Story = { city: string; quantity: number; cancelAfter: number | null };
const story: fc.Arbitrary<Story> = fc.record({
  city: fc.constantFrom('pune', 'pune', 'lonavala'),
  quantity: fc.constantFrom(1, 3, 40),
  // After so many deliveries somebody cancels this order.
  cancelAfter: fc.option(fc.nat(25)),
});
const scenario = fc.record({
  stories: fc.array(story, { minLength: 2, maxLength: 5 }),
  // A source of choices: which event next, how many at once, whether it is delivered again.
  choices: fc.infiniteStream(fc.nat(1_000_000)),
});

/** An event that some service has not handled for good. */
type Pending = { world: World; event: SagaEvent; deliveries: number };

class Saga {
  readonly pending: Pending[] = [];
  deliveries = 0;
  readonly #next: () => number;

  constructor(next: () => number) {
    this.#next = next;
  }

  async ask(world: World, on: string, cause: Partial<Cause>): Promise<void> {
    await this.#run(world, [
      { reaction: reactionOf(world.definition, on), cause: someCause(cause), attempt: 1 },
    ]);
  }

  /** Delivers to one service a few events, one of an order at most; some of them are kept to come again. */
  async deliver(): Promise<void> {
    const first = this.pending[this.#next() % this.pending.length] as Pending;
    const sizeMax = 1 + (this.#next() % 4);
    const batch: Pending[] = [];
    for (const candidate of [first, ...this.pending]) {
      const isNew = !batch.some(({ event }) => event.subject === candidate.event.subject);
      if (candidate.world === first.world && isNew && batch.length < sizeMax) batch.push(candidate);
    }
    for (const one of batch) {
      one.deliveries += 1;
      const isKept = one.deliveries < 3 && this.#next() % 4 === 0;
      if (!isKept) this.pending.splice(this.pending.indexOf(one), 1);
    }
    const intents = batch.map(({ world, event, deliveries }) => ({
      reaction: reactionOf(world.definition, event.type),
      cause: causeOfEvent(event),
      attempt: deliveries,
    }));
    await this.#run(first.world, intents);
    this.deliveries += 1;
  }

  async #run(world: World, intents: Intent[]): Promise<void> {
    const { messages } = await presumingFirst((claims) =>
      runThenCommit(world.pool, (tx) => transact(tx, intents, world.tools, claims)),
    );
    for (const event of messages.flatMap(({ body }) => JSON.parse(body) as SagaEvent[])) {
      for (const listener of worlds) {
        const hears = listener.definition.reactions.some(({ on }) => on === event.type);
        if (hears) this.pending.push({ world: listener, event, deliveries: 0 });
      }
    }
  }
}

const placing = (orderId: string, customerId: string, dishId: string, { city, quantity }: Story) => ({
  orderId,
  customerId,
  lamport: 0,
  data: {
    customerId,
    city,
    items: [{ dishId, quantity }],
    total: quantity * 10,
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
    faults: undefined,
    protocol: 'saga',
    bodyHash: 'hash',
    createdAt: new Date(),
    deadline: new Date(),
  },
});

async function runThrough(stories: Story[], choices: Iterator<number>) {
  const [orders, wallets, stock] = worlds as [World, World, World, World];
  const customerId = randomUUID();
  const dishId = randomUUID();
  await wallets.query('insert into wallets values ($1, $2)', [customerId, money]);
  await stock.query(`insert into stock values ($1, 'x', 1, $2, 0)`, [dishId, portions]);
  const saga = new Saga(() => choices.next().value as number);
  const ids = stories.map(() => randomUUID());
  for (const [index, one] of stories.entries()) {
    await saga.ask(orders, 'request:place-order', placing(ids[index] ?? '', customerId, dishId, one));
  }
  const cancels = stories
    .map(({ cancelAfter }, index) => ({ at: cancelAfter, orderId: ids[index] as string }))
    .filter(({ at }) => at !== null);
  while (saga.pending.length > 0 || cancels.length > 0) {
    const due = cancels.findIndex(({ at }) => saga.pending.length === 0 || (at ?? 0) <= saga.deliveries);
    if (due >= 0) {
      const [one] = cancels.splice(due, 1);
      const data = { reason: 'changed my mind' };
      await saga.ask(orders, 'request:cancel-order', {
        orderId: one?.orderId ?? '',
        customerId,
        data,
        lamport: 0,
      });
    }
    if (saga.pending.length > 0) await saga.deliver();
    expect(saga.deliveries).toBeLessThan(deliveriesMax);
  }
  return { ids, customerId, dishId };
}

async function expectConsistent(ids: string[], customerId: string, dishId: string) {
  const [orders, wallets, stock, couriers] = worlds as [World, World, World, World];
  const rows = await orders.query<{ order_id: string; status: string; total: number }>(
    'select order_id, status, total from orders where order_id = any($1::uuid[])',
    [ids],
  );
  const standing = async (world: World, table: string, status: string) =>
    (
      await world.query<{ order_id: string }>(
        `select order_id from ${table} where status = $2 and order_id = any($1::uuid[])`,
        [ids, status],
      )
    )
      .map(({ order_id }) => order_id)
      .sort();
  const dispatched = rows.filter(({ status }) => status === 'DISPATCHED');
  expect(
    rows.map(({ status }) => status).filter((status) => !/^(DISPATCHED|CANCELLED)$/.test(status)),
  ).toEqual([]);
  const expected = dispatched.map(({ order_id }) => order_id).sort();
  expect(await standing(wallets, 'payments', 'charged')).toEqual(expected);
  expect(await standing(stock, 'reservations', 'reserved')).toEqual(expected);
  expect(await standing(couriers, 'assignments', 'assigned')).toEqual(expected);

  const cost = dispatched.reduce((sum, { total }) => sum + total, 0);
  expect(await wallets.query('select balance from wallets where customer_id = $1', [customerId])).toEqual([
    { balance: money - cost },
  ]);
  expect(await stock.query('select free, reserved from stock where dish_id = $1', [dishId])).toEqual([
    { free: portions - cost / 10, reserved: cost / 10 },
  ]);
  return dispatched.length;
}

test('Whatever the order, the repeats and the batches, all of an order stands or none', {
  timeout: runsMs,
}, async () => {
  const seen = { dispatched: 0, cancelled: 0 };
  await fc.assert(
    fc.asyncProperty(scenario, async ({ stories, choices }) => {
      const { ids, customerId, dishId } = await runThrough(stories, choices[Symbol.iterator]());
      const dispatched = await expectConsistent(ids, customerId, dishId);
      seen.dispatched += dispatched;
      seen.cancelled += ids.length - dispatched;
    }),
    { numRuns: runs },
  );
  // Both ends occur often, or the property says little.
  expect(seen.dispatched).toBeGreaterThan(runs / 3);
  expect(seen.cancelled).toBeGreaterThan(runs / 3);
});
