/**
 * Each user's rights, asked of real brokers that run with the generated files: the lab's own, and those that
 * NATS_SERVERS names (paths, separated by colons), because acknowledgements changed their form in 2.14.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serviceNames } from '#libs/contracts/events.ts';
import { openFaultBucket } from '#libs/faults/bucket.ts';
import { type Fault, fault } from '#libs/faults/fault.ts';
import { consume } from '#libs/nats/consume.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { brokerUsers } from '../../infra/nats/users.ts';
import { system } from '../support/api.ts';
import { type Broker, brokerVariants, startBroker } from '../support/broker.ts';
import { faultAttempts, foreignTo, granted, openAs, permitted } from '../support/broker-rights.ts';
import { openStream, type Stream } from '../support/broker-stream.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';

const port = system.portBase + 44;
const confOf = (file: string) => readFileSync(new URL(`../../infra/nats/${file}`, import.meta.url), 'utf8');
const withFaults = confOf('users-faults.conf');
const without = confOf('users.conf');
const bound = brokerUsers.filter(({ grants }) => grants).map(({ name }) => name);
const variants = await brokerVariants();

describe.each(variants)('On $name', ({ binary, settings }) => {
  let broker: Broker;
  let stream: Stream;
  const open = new Map<string, NatsConnection>();
  const as = async (user: string): Promise<NatsConnection> => {
    const connection = open.get(user) ?? (await openAs(broker.urlOf(user)));
    open.set(user, connection);
    return connection;
  };

  beforeAll(async () => {
    broker = await startBroker(binary, withFaults, port, settings);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    stream = await openStream(await as('admin'));
  });
  afterAll(async () => {
    for (const connection of open.values()) await connection.close();
    await broker?.[Symbol.asyncDispose]();
  });

  test('nobody comes in without a password, or with a wrong one', async () => {
    await expect(openAs(`nats://${broker.address}`)).rejects.toThrow(/authorization violation/i);
    await expect(openAs(`nats://order:wrong@${broker.address}`)).rejects.toThrow(/authorization violation/i);
  });

  test.each(bound)('%s is let do nothing of what is for others', async (user) => {
    const before = await stream.state();
    const attempts = foreignTo(user);
    expect(attempts.length).toBeGreaterThan(100);
    expect(await permitted(broker.urlOf(user), attempts)).toEqual([]);
    expect(await stream.state()).toEqual(before);
  });

  test.each(bound)('%s may do what its rows say', async (user) => {
    const attempts = granted(user, true);
    const asText = attempts.map(({ may, subject }) => `${may} ${subject}`);
    expect(await permitted(broker.urlOf(user), attempts)).toEqual(asText);
    // They were empty objects, which no service should meet below.
    await stream.purge();
  });

  test('a service publishes its own events, and another reads and acknowledges them', async () => {
    const publish = createPublisher(await as('payment'));
    const event = someEvent('payment.failed');
    const messageId = randomUUID();
    await publish({ messageId, subject: event.type, body: JSON.stringify([event]) });
    const read: string[] = [];
    const troubles: unknown[] = [];
    const consuming = await consume({
      connection: await as('order'),
      durable: 'order',
      async onMessage(message) {
        read.push(message.headers?.get('Nats-Msg-Id') ?? '');
        expect(await message.ackAck()).toBe(true);
      },
      isFull: () => false,
      onTrouble: (error) => troubles.push(error),
    });
    await eventually('it is read', () => read.length > 0);
    await consuming.stop();
    expect([read, troubles]).toEqual([[messageId], []]);
    expect((await stream.consumer('order')).num_ack_pending).toBe(0);
    const dead = { messageId: randomUUID(), subject: 'dead-letter.order', body: '[]' };
    await createPublisher(await as('order'))(dead);
  });

  test('a service that says what another says is refused, and nothing is stored', async () => {
    const before = await stream.state();
    const forged = { messageId: randomUUID(), subject: 'payment.refunded', body: '[]' };
    const refusal = createPublisher(await as('order'))(forged);
    await expect(refusal).rejects.toThrow('payment.refunded was not acknowledged within');
    expect(await stream.state()).toEqual(before);
  });

  test('no answer of the broker can be turned into an event that another says', async () => {
    const event = someEvent('payment.refunded');
    const said = { messageId: randomUUID(), subject: event.type, body: JSON.stringify([event]) };
    await createPublisher(await as('payment'))(said);
    const { noise, forged } = await forgeByAnswers(await as('order'), stream);
    // Noise comes through, and is dead-lettered.
    expect(noise).toBeGreaterThan(0);
    expect(forged).toEqual([]);
  });

  test('one key of the faults cannot wipe the others', async () => {
    const bucket = await openFaultBucket(await as('gateway'));
    const active: Fault = fault.parse({ id: 'kept', at: 'payment.charge', do: 'refuse' });
    await bucket.write([active]);
    const order = await as('order');
    const wipe = headers();
    wipe.set('Nats-Rollup', 'all');
    const answer = await order.request('$KV.faults.hits.x', 'x', { headers: wipe, timeout: 2_000 });
    expect(answer.json()).toMatchObject({ error: { description: expect.stringContaining('rollup') } });
    expect((await bucket.read()).faults).toEqual([active]);
  });

  test('faults that the gateway sets are heard by all, and their hits are counted', async () => {
    const bucket = await openFaultBucket(await as('gateway'));
    await bucket.write([]);
    const watched = [...serviceNames, 'coordinator'] as const;
    const heard = new Map<string, string[]>();
    const stops = await Promise.all(
      watched.map(async (user) => {
        const own = await openFaultBucket(await as(user));
        return own.watch((faults) =>
          heard.set(
            user,
            faults.map(({ id }) => id),
          ),
        );
      }),
    );
    const { revision } = await bucket.read();
    const one = fault.parse({ id: 'one', at: 'payment.charge', do: 'refuse', hitsMax: 3 });
    expect(await bucket.write([one], revision)).toBe(true);
    await eventually('all have heard', () => watched.every((user) => heard.get(user)?.join() === 'one'));
    // Somebody else was faster: refused by the stream, and so never heard.
    expect(await bucket.write([], revision)).toBe(false);
    const payment = await openFaultBucket(await as('payment'));
    const counted = await Promise.all([payment.count('one', 2, 3), bucket.count('one', 2, 3)]);
    expect(counted[0] + counted[1]).toBe(3);
    expect(await bucket.hits(['one'])).toEqual(new Map([['one', 3]]));
    expect(watched.map((user) => heard.get(user)?.join())).toEqual(watched.map(() => 'one'));
    for (const stop of stops) stop();
    // The name may be used again, and counts from the beginning.
    await bucket.write([]);
    await bucket.write([one]);
    expect(await bucket.hits(['one'])).toEqual(new Map([['one', 0]]));
  });

  test('the gateway reads events and dead letters, and hears how orders end', async () => {
    const gateway = await as('gateway');
    const ends: string[] = [];
    gateway.subscribe('order.dispatched', { callback: (_, message) => void ends.push(message.string()) });
    await gateway.flush();
    const body = JSON.stringify([someEvent('order.dispatched')]);
    await createPublisher(await as('order'))({ messageId: randomUUID(), subject: 'order.dispatched', body });
    const reader = await openStream(gateway);
    const { firstSequence, lastSequence } = await reader.state();
    const stored = await reader.messagesFrom(firstSequence);
    expect(stored.at(-1)).toMatchObject({ seq: lastSequence, subject: 'order.dispatched', body });
    expect(ends).toEqual([body]);
    expect(await reader.deadLetters()).toContain('[]');
  });

  test('provisioning again changes nothing', async () => {
    const before = await stream.everything();
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    expect(await stream.everything()).toEqual(before);
  });
});

describe('Where faults are off', () => {
  test.each(bound)('%s is let do nothing with them either', async (user) => {
    await using broker = await startBroker(variants[0]?.binary ?? '', without, port);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    const attempts = [...foreignTo(user), ...faultAttempts];
    expect(await permitted(broker.urlOf(user), attempts)).toEqual([]);
    const rows = granted(user, false);
    expect(await permitted(broker.urlOf(user), rows)).toHaveLength(rows.length);
  });
});

/** Has the broker send its answers to the subject of another's event; tells what the stream took in of it. */
async function forgeByAnswers(order: NatsConnection, stream: Stream) {
  const from = (await stream.state()).lastSequence + 1;
  const forgery = someEvent('inventory.reserved');
  const own = { ...someEvent('order.confirmed'), type: 'inventory.reserved' };
  const key = '$KV.faults.hits.x';
  for (const [subject, body] of [
    ['$JS.API.CONSUMER.MSG.NEXT.EVENTS.order', JSON.stringify({ batch: 10, expires: 1_000_000_000 })],
    ['order.confirmed', JSON.stringify([own])],
    [key, JSON.stringify([forgery])],
    ['$JS.API.STREAM.MSG.GET.KV_faults', JSON.stringify({ last_by_subj: key })],
    [`$JS.API.DIRECT.GET.KV_faults.${key}`, ''],
  ] as const) {
    order.publish(subject, body, { reply: 'inventory.reserved' });
    await order.flush();
  }
  await eventually('all is stored', async () => (await stream.state()).lastSequence >= from + 3);
  const stored = await stream.messagesFrom(from);
  const noise = stored.filter(({ subject }) => subject === 'inventory.reserved').length;
  const events = stored.flatMap(({ subject, body }) => stream.eventsIn(subject, body));
  return { noise, forged: events.filter(({ type }) => type === 'inventory.reserved') };
}

describe('These tests', () => {
  const own = '"payment.>"';
  const inbox = '"_INBOX_payment.>"';
  test.each<[string, string, (conf: string) => string, string[]]>([
    [
      'forging',
      'payment',
      (conf) => conf.replace(own, `${own}, "order.confirmed"`),
      ['publish order.confirmed'],
    ],
    [
      'snooping on answers',
      'payment',
      (conf) => conf.replace(inbox, `${inbox}, "_INBOX_order.>"`),
      ['subscribe _INBOX_order.>'],
    ],
    [
      'reading for another',
      'payment',
      (conf) => conf.replace(own, `${own}, "$JS.API.CONSUMER.MSG.NEXT.EVENTS.*"`),
      ['order', 'inventory', 'logistics', 'notification'].map(
        (name) => `publish $JS.API.CONSUMER.MSG.NEXT.EVENTS.${name}`,
      ),
    ],
    [
      'purging',
      'payment',
      (conf) => conf.replace(own, `${own}, "$JS.API.STREAM.PURGE.EVENTS"`),
      ['publish $JS.API.STREAM.PURGE.EVENTS'],
    ],
    [
      "deleting a service's consumer",
      'gateway',
      (conf) => conf.replace('"$JS.API.CONSUMER.DELETE.EVENTS.order"', ''),
      ['publish $JS.API.CONSUMER.DELETE.EVENTS.order'],
    ],
  ])('see a right too many: %s', async (_, user, loosen, found) => {
    expect(loosen(withFaults)).not.toBe(withFaults);
    await using broker = await startBroker(variants[0]?.binary ?? '', loosen(withFaults), port);
    expect(await permitted(broker.urlOf(user), foreignTo(user))).toEqual(found);
  });

  test('see a forgery by answers, where a service may read directly', async () => {
    const direct = '"order.>", "$JS.API.DIRECT.GET.KV_faults.>"';
    await using broker = await startBroker(
      variants[0]?.binary ?? '',
      withFaults.replace('"order.>"', direct),
      port,
    );
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    const admin = await openAs(broker.adminUrl);
    const order = await openAs(broker.urlOf('order'));
    try {
      const stream = await openStream(admin);
      await stream.allowDirectReads();
      expect((await forgeByAnswers(order, stream)).forged).toHaveLength(1);
    } finally {
      await order.close();
      await admin.close();
    }
  });
});
