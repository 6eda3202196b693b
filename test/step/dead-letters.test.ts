import { randomUUID } from 'node:crypto';
import { drizzle } from 'drizzle-orm/node-postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createDeadLetters, type ReplayEnd } from '#libs/step/dead-letters.ts';
import { createFailures } from '#libs/step/failures.ts';
import { payment } from '#services/payment/service.ts';
import { deliveries, type Post, postOf } from '../support/deliveries.ts';
import { type DrivenWorld, drive } from '../support/driver.ts';
import { someEvent } from '../support/events.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let driven: DrivenWorld;
let letters: ReturnType<typeof createDeadLetters>;

const newId = () => randomUUID();
const reactions = new Map(payment.reactions.map((reaction) => [reaction.on as string, reaction]));

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets, failures');
  await world.query(`insert into wallets values ('asha', 100000)`);
  driven = drive(world, world.pool);
  letters = createDeadLetters({
    service: 'payment',
    db: drizzle(world.pool, { casing: 'snake_case' }),
    failures: createFailures({ pool: world.pool, now: () => new Date(), newId }),
    reactions,
    submit: driven.driver.submit,
  });
});
afterEach(() => driven.driver.stop());
afterAll(() => world[Symbol.asyncDispose]());

const balance = async () =>
  (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;
const charged = 100_000 - 24_000;

async function breakWallets(): Promise<() => Promise<unknown>> {
  await world.query(`alter table wallets add constraint broken check (balance = 100000)`);
  return () => world.query('alter table wallets drop constraint broken');
}

/** A charge that was set aside; `heal` removes the cause. */
async function setAside(over: Partial<Post> = {}) {
  const heal = await breakWallets();
  const orderId = randomUUID();
  const post = { ...postOf(someEvent('order.placement.requested', { subject: orderId })), ...over };
  await deliveries(world, driven).deliverUntilDone(post);
  const [item] = await letters.list({ state: 'open', limit: 10 });
  if (!item) throw new Error('nothing was set aside');
  return { heal, orderId, post, id: item.id.slice('payment:'.length) };
}

const lost = async (body: string) => {
  await deliveries(world, driven).deliver({
    subject: 'order.placement.requested',
    body,
    messageId: randomUUID(),
  });
};

const effectsOf = (end: ReplayEnd | undefined) => end && 'replayed' in end && end.replayed.effects;

describe('A dead letter', () => {
  test('keeps what came: its order, its trace, its headers and a body that can be read again', async () => {
    const { heal, id, orderId, post } = await setAside({
      headers: { 'Content-Type': 'some/type', extra: 'é' },
    });
    await heal();
    expect(await letters.find(id)).toMatchObject({
      id: `payment:${id}`,
      state: 'open',
      attempts: 8,
      reason: expect.stringContaining('broken'),
      step: 'payment.charge',
      orderId,
      subject: 'order.placement.requested',
      messageId: post.messageId,
      traceId: 'a'.repeat(32),
      headers: { 'Content-Type': 'some/type', extra: 'é', 'Nats-Msg-Id': post.messageId },
      body: post.body,
    });
  });

  test('is replayed: it takes effect once, however often, and says so', async () => {
    const { heal, id } = await setAside();
    await heal();
    const ends = await Promise.all([letters.replay(id), letters.replay(id)]);
    expect(ends.map(effectsOf).sort()).toEqual([['applied'], ['repeat']]);
    expect(effectsOf(await letters.replay(id))).toEqual(['repeat']);
    expect(await balance()).toBe(charged);
    expect(await letters.find(id)).toMatchObject({ state: 'replayed', settledAt: expect.any(String) });
    expect(await letters.list({ state: 'open', limit: 10 })).toEqual([]);
    expect(await letters.discard(id)).toBeUndefined();
  });

  test('that fails again stays open, with one attempt more and the new reason', async () => {
    const { heal, id } = await setAside();
    await heal();
    await world.query(`alter table payments add constraint other check (amount < 1)`);
    expect(await letters.replay(id)).toEqual({ failed: expect.stringContaining('other') });
    await world.query('alter table payments drop constraint other');
    expect(await letters.find(id)).toMatchObject({
      state: 'open',
      attempts: 9,
      reason: expect.stringContaining('other'),
    });
    expect(effectsOf(await letters.replay(id))).toEqual(['applied']);
    expect(await balance()).toBe(charged);
  });

  test('whose order was cancelled meanwhile is barred: the replay does nothing', async () => {
    const { heal, id, orderId } = await setAside();
    await heal();
    await Promise.all(
      driven.submit([world.intent('inventory.released', { orderId, data: { reason: 'late' } })]),
    );
    expect(effectsOf(await letters.replay(id))).toEqual(['repeat']);
    expect(await balance()).toBe(100_000);
    const rows = await world.query('select direction, outcome from journal order by direction');
    expect(rows).toEqual([
      { direction: 'do', outcome: 'barred' },
      { direction: 'undo', outcome: 'empty' },
    ]);
  });

  test('that was discarded is put away, and can be replayed all the same', async () => {
    const { heal, id } = await setAside();
    await heal();
    expect(await letters.discard(id)).toMatchObject({ state: 'discarded' });
    expect(await letters.list({ state: 'open', limit: 10 })).toEqual([]);
    expect(await letters.list({ state: 'all', limit: 10 })).toHaveLength(1);
    expect(effectsOf(await letters.replay(id))).toEqual(['applied']);
  });

  test('that nobody can read yet is read again, and can be once the code can', async () => {
    const event = someEvent('payment.refunded');
    await deliveries(world, driven).deliver({ ...postOf(event), subject: 'payment.refunded' });
    const [item] = await letters.list({ state: 'open', limit: 10 });
    const id = item?.id.slice('payment:'.length) ?? '';
    expect(item).toMatchObject({
      attempts: 1,
      orderId: null,
      reason: 'nothing here reacts to payment.refunded',
    });
    expect(await letters.replay(id)).toEqual({ failed: 'nothing here reacts to payment.refunded' });
    expect(await letters.find(id)).toMatchObject({ attempts: 2 });
    // A release that knows the event: this row stands in for the new reaction.
    const [refund] = payment.reactions.filter(({ direction }) => direction === 'undo');
    if (!refund) throw new Error('payment has an undo');
    reactions.set('payment.refunded', { ...refund, on: 'payment.refunded' });
    expect(effectsOf(await letters.replay(id))).toEqual(['applied']);
    reactions.delete('payment.refunded');
  });
});

test('Letters are listed in pages, and each is on one of them', async () => {
  for (let count = 0; count < 5; count++) await lost(`no JSON ${count}`);
  const found: string[] = [];
  let cursor: string | undefined;
  do {
    const rows = await letters.list({ state: 'open', cursor, limit: 2 });
    const shown = rows.slice(0, 2);
    found.push(...shown.map(({ id }) => id));
    cursor = rows.length > 2 ? shown.at(-1)?.id.slice('payment:'.length) : undefined;
  } while (cursor !== undefined);
  expect(found).toEqual([...found].sort().reverse());
  expect(new Set(found).size).toBe(5);
});
