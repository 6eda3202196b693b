import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Message } from '#libs/nats/publish.ts';
import { startAnnouncer } from '#libs/step/announcer.ts';
import { payment } from '#services/payment/service.ts';
import { deliveries, type Post, postOf } from '../support/deliveries.ts';
import { type DrivenWorld, drive } from '../support/driver.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let driven: DrivenWorld;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
  // No charge can keep it.
  await world.query('alter table wallets add constraint broken check (balance = 100000)');
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets, failures');
  await world.query(`insert into wallets values ('asha', 100000)`);
  driven = drive(world, world.pool);
});
afterEach(() => driven.driver.stop());
afterAll(() => world[Symbol.asyncDispose]());

/** A charge that fails until it is set aside. */
async function setAside(headers: Record<string, string> = {}) {
  const orderId = randomUUID();
  const post: Post = { ...postOf(someEvent('order.placement.requested', { subject: orderId })), headers };
  await deliveries(world, driven).deliverUntilDone(post);
  const [row] = await world.query<{ id: string }>('select id from failures where order_id = $1', [orderId]);
  return { id: row?.id, orderId, post };
}

const lost = async (body: string) => {
  await deliveries(world, driven).deliver({
    subject: 'order.placement.requested',
    body,
    messageId: randomUUID(),
  });
};

describe('The dead-letter stream', () => {
  const sequence = 1;
  const announce = (publish: (message: Message, headers?: Record<string, string>) => Promise<void>) =>
    startAnnouncer({
      service: 'payment',
      pool: world.pool,
      publish: async (message, headers) => {
        await publish(message, headers);
        return sequence;
      },
      now: () => new Date(),
      onTrouble: () => {},
    });
  const unannounced = async () =>
    (await world.query(`select 1 from failures where state = 'open' and announced_at is null`)).length;

  test('is told of each letter once, with its error, attempts, trace and headers', async () => {
    const { id, orderId, post } = await setAside({ 'Content-Type': 'some/type' });
    const told: { message: Message; headers: Record<string, string> | undefined }[] = [];
    const announcers = [1, 2].map(() =>
      announce(async (message, headers) => void told.push({ message, headers })),
    );
    await eventually('it is told', async () => (await unannounced()) === 0);
    await Promise.all(announcers.map((announcer) => announcer.stop()));
    // Two at a time may tell it; the broker takes one message of an id.
    expect(new Set(told.map(({ message }) => message.messageId)).size).toBe(1);
    expect(told[0]?.message).toEqual({
      messageId: `${id}-8`,
      subject: 'dead-letter.payment',
      body: post.body,
    });
    expect(told[0]?.headers).toMatchObject({
      'Saga-Letter': `payment:${id}`,
      'Saga-Reason': expect.stringContaining('broken'),
      'Saga-Attempts': '8',
      'Saga-Subject': 'order.placement.requested',
      'Saga-Message-Id': post.messageId,
      'Saga-Original-Content-Type': 'some/type',
      traceparent: expect.stringContaining('a'.repeat(32)),
    });
    expect(post.body).toContain(orderId);
  });

  test('hears later of what was set aside while the broker was away', async () => {
    await lost(`["${'x'.repeat(900_000)}"]`);
    let refusals = 0;
    const told: Message[] = [];
    const announcer = announce(async (message) => {
      refusals += 1;
      if (refusals <= 2) throw new Error('no answer');
      told.push(message);
    });
    await eventually('it is told', async () => (await unannounced()) === 0);
    await announcer.stop();
    expect(told).toHaveLength(1);
    // Shorter than the broker takes; the whole of it is in the letter.
    expect(told[0]?.body.length).toBeLessThan(300_000);
  });

  test('keeps no operator waiting while the broker does not answer', async () => {
    const { id } = await setAside();
    const answer = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const announcer = announce(() => {
      asked.resolve();
      return answer.promise;
    });
    await asked.promise;
    const discard = `update failures set state = 'discarded' where id = $1 returning id`;
    await world.query(`select 1 from failures where id = $1 for update nowait`, [id]);
    expect(await world.query(discard, [id])).toEqual([{ id }]);
    answer.resolve();
    await announcer.stop();
  });

  test('hears of those that come after letters which the broker never takes', async () => {
    // More than one look finds.
    for (let count = 0; count < 120; count++) await lost(`no JSON ${count}, refused`);
    const last = await setAside();
    const told: Message[] = [];
    const announcer = announce(async (message) => {
      if (message.body.includes('refused')) throw new Error('too large');
      told.push(message);
    });
    await eventually('all others are told', async () => (await unannounced()) === 120);
    await announcer.stop();
    expect(told).toMatchObject([{ body: last.post.body }]);
  });

  test('is told only as many of the headers as a message has room for', async () => {
    const many = Array.from({ length: 2_000 }, (_, count) => [`name-${count}`, 'x'.repeat(500)]);
    await setAside({
      'Content-Type': 'some/type',
      long: 'x'.repeat(900_000),
      ...Object.fromEntries(many),
    });
    const told: Record<string, string>[] = [];
    const announcer = announce(async (_message, headers = {}) => void told.push(headers));
    await eventually('it is told', async () => (await unannounced()) === 0);
    await announcer.stop();
    expect(told[0]).toMatchObject({
      'Saga-Original-Content-Type': 'some/type',
      'Saga-Original-name-0': 'x'.repeat(500),
      'Saga-Reason': expect.stringContaining('broken'),
    });
    expect(JSON.stringify(told[0]).length).toBeLessThan(50_000);
  });
});
