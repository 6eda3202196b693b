import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DeadLetter, DeadLetterItem } from '#libs/contracts/dead-letters.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { endOf, get, holdings, place, somebody, stepOf, timelineOf, typesOf } from '../support/api.ts';
import { type Bus, openBus } from '../support/bus.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';

let bus: Bus;
/** Fails for a quarter of a minute while the other tests run; looked at last. */
let poison: {
  orderId: string;
  who: ReturnType<typeof somebody>;
  before: Awaited<ReturnType<typeof holdings>>;
};
beforeAll(async () => {
  bus = await openBus();
  const who = somebody();
  const before = await holdings(who);
  const { orderId } = await place({
    customerId: who.customerId,
    // The chain of undos is held up, or its bar would settle the poison before its attempts are over.
    faults: [
      { at: 'payment.charge', do: 'error', times: 20 },
      { at: 'logistics.unassign', do: 'delay', ms: 9_000 },
    ],
  });
  poison = { orderId, who, before };
});
afterEach(() => bus.clean());
afterAll(async () => {
  await bus.close();
  await expectInvariants();
});

/** Whatever has become of it. */
async function deadLetters(): Promise<DeadLetterItem[]> {
  const all: DeadLetterItem[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const from: string = cursor === '' ? '' : `&cursor=${cursor}`;
    const page: { items: DeadLetterItem[]; nextCursor: string | null } = await get(
      `/api/dead-letters?state=all&limit=200${from}`,
    );
    all.push(...page.items);
    cursor = page.nextCursor;
  }
  return all;
}

const letterOf = (id: string) => get<DeadLetter>(`/api/dead-letters/${id}`);

const deadLetterOf = async (messageId: string, withinMs?: number): Promise<DeadLetter> => {
  const { id } = await eventually(
    `dead letter of ${messageId}`,
    async () => (await deadLetters()).find((letter) => letter.messageId === messageId),
    withinMs,
  );
  return letterOf(id);
};

const wrongType = { ...someEvent('payment.completed'), type: 'payment.exploded' };
const wrongData = { ...someEvent('payment.completed'), data: { items: 'all' } };
const forged = { ...someEvent('payment.completed'), source: 'order' };
const elsewhere = someEvent('payment.refunded');

describe('F29: When a message comes that no schema accepts', () => {
  test.each<[string, string, string]>([
    ['broken JSON', '[{"specversion"', 'not JSON'],
    ['no batch', '{"a":1}', 'not a CloudEvents batch'],
    ['an unknown type', JSON.stringify([wrongType]), 'type: no event is called payment.exploded'],
    ['wrong data', JSON.stringify([wrongData]), 'data.items: '],
    ['a forged source', JSON.stringify([forged]), "source: payment.completed is not order's to say"],
    [
      'another subject',
      JSON.stringify([elsewhere]),
      'type: payment.refunded came on subject payment.completed',
    ],
    ['no event at all', '[null]', '(whole)'],
  ])('then %s is dead-lettered at once with its reason, and orders flow on', async (_, body, reason) => {
    const messageId = randomUUID();
    await bus.publish('payment.completed', body, messageId);
    const letter = await deadLetterOf(messageId);
    expect(letter).toMatchObject({ service: 'inventory', subject: 'payment.completed', attempts: 1 });
    expect(letter.reason).toContain(reason);
    // A batch of one is the message as it came, and so is what is no batch.
    expect(letter.body).toBe(body);
    const { orderId } = await place();
    expect(await endOf(orderId)).toMatchObject({ status: 'DISPATCHED' });
  });

  test('then an empty batch is taken for what it is: nothing', async () => {
    const ofInventory = async () =>
      (await deadLetters()).filter(({ service }) => service === 'inventory').length;
    const before = await ofInventory();
    const sequence = await bus.publish('payment.completed', '[]', randomUUID());
    const { orderId } = await place();
    await endOf(orderId);
    expect(await ofInventory()).toBe(before);
    // And acknowledged: it must not come again for ever.
    const floor = async () =>
      (await bus.manager.consumers.info(eventStream, 'inventory')).ack_floor.stream_seq;
    await eventually('the empty batch is acknowledged', async () => (await floor()) >= sequence, 25_000);
  });

  test('then one bad event does not take the good ones of its batch with it', async () => {
    const [first, last] = [randomUUID(), randomUUID()];
    const good = [first, last].map((subject) => someEvent('order.cancelled', { subject }));
    const messageId = randomUUID();
    const bad = { ...someEvent('order.cancelled'), lamport: 0 };
    await bus.publish('order.cancelled', JSON.stringify([good[0], bad, good[1]]), messageId);
    const letter = await deadLetterOf(messageId);
    expect(letter).toMatchObject({ service: 'notification', reason: expect.stringMatching(/^lamport: /) });
    expect(JSON.parse(letter.body)).toEqual([bad]);
    for (const orderId of [first, last]) await stepOf(orderId, 'notification.notify-cancelled');
  });
});

describe('When all messages of some orders come again, with new ids and in reverse order', () => {
  test('then nothing happens a second time', async () => {
    const who = somebody();
    const from = (await bus.lastSequence()) + 1;
    const orders = await Promise.all([
      place({ customerId: who.customerId }),
      place({ customerId: who.customerId, city: 'lonavala' }),
      place({ customerId: who.customerId, items: [{ dishId: 'truffle-thali', quantity: 1 }] }),
    ]);
    for (const { orderId } of orders) await endOf(orderId);
    for (const { orderId } of orders) {
      await eventually('the last notification', async () =>
        (await timelineOf(orderId)).find(({ step }) => /notify-(dispatched|cancelled)/.test(step)),
      );
    }
    const stories = await Promise.all(orders.map(({ orderId }) => timelineOf(orderId)));
    const before = await holdings(who);

    const messages = (await bus.messagesFrom(from)).reverse();
    expect(messages.length).toBeGreaterThanOrEqual(10);
    for (const { subject, body } of messages) await bus.publish(subject, body, randomUUID());
    const { orderId } = await place();
    await endOf(orderId);

    expect(await Promise.all(orders.map((order) => timelineOf(order.orderId)))).toEqual(stories);
    expect(await holdings(who)).toEqual(before);
    const between = (await bus.messagesFrom(from)).filter(({ body }) =>
      orders.some((order) => body.includes(order.orderId)),
    );
    expect(between).toHaveLength(messages.length * 2);
  });
});

describe('F7: When an undo comes before its step', () => {
  test('then the step, when it comes, is barred and says nothing', async () => {
    const who = somebody();
    const before = await holdings(who);
    const subject = randomUUID();
    const over = { subject, customerid: who.customerId };
    await bus.publish(
      'inventory.released',
      JSON.stringify([someEvent('inventory.released', over)]),
      randomUUID(),
    );
    await stepOf(subject, 'payment.refund');
    await bus.publish(
      'order.placement.requested',
      JSON.stringify([someEvent('order.placement.requested', over)]),
      randomUUID(),
    );
    const marker = await place();
    await endOf(marker.orderId);
    const timeline = (await timelineOf(subject)).filter(({ service }) => service === 'payment');
    expect(timeline.map(({ step, outcome }) => [step, outcome])).toEqual([
      ['payment.charge', 'barred'],
      ['payment.refund', 'empty'],
    ]);
    expect(typesOf(timeline)).toEqual(['payment.refunded']);
    expect(await holdings(who)).toEqual(before);
  });
});

describe('When a step fails every time', () => {
  test('then it is dead-lettered after its attempts, and the deadline cancels the order', async () => {
    const { orderId, who, before } = poison;
    const letter = await eventually(
      'the poison',
      async () => (await deadLetters()).find((each) => each.orderId === orderId),
      30_000,
    );
    expect(letter).toMatchObject({
      service: 'payment',
      subject: 'order.placement.requested',
      reason: 'injected error at payment.charge',
      attempts: 8,
    });
    const meanwhile = await place();
    expect(await endOf(meanwhile.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(await endOf(orderId)).toMatchObject({ status: 'CANCELLED', reason: 'deadline passed' });
    expect(await holdings(who)).toEqual(before);
  });
});
