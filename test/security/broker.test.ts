/**
 * Each user's rights, asked of real brokers that run with the generated files: the lab's own, and those that
 * NATS_SERVERS names (paths, separated by colons), because acknowledgements changed their form in 2.14.
 */
import { randomUUID } from 'node:crypto';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serviceNames } from '#libs/contracts/events.ts';
import { openFaultBucket } from '#libs/faults/bucket.ts';
import { type Fault, fault } from '#libs/faults/fault.ts';
import { consume } from '#libs/nats/consume.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import { createEventTail } from '#services/console/event-tail.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { brokerUsers } from '../../infra/nats/users.ts';
import { system } from '../support/api.ts';
import { type Broker, brokerVariants, startBroker, usersOf } from '../support/broker.ts';
import { foreignTo, granted, openAs, permitted } from '../support/broker-rights.ts';
import { forgeByAnswers, openStream, type Stream } from '../support/broker-stream.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';

const port = system.portBase + 44;
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
    broker = await startBroker(binary, usersOf('users-faults.conf'), port, settings);
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

  test('F31: a service that says what another says is refused, and nothing is stored', async () => {
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
    expect(await forgeByAnswers(await as('order'), stream)).toBe(0);
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

  test('the gateway reads events, and hears how orders end', async () => {
    const gateway = await as('gateway');
    const ends: string[] = [];
    gateway.subscribe('stored.order.dispatched', {
      callback: (_, message) => void ends.push(message.string()),
    });
    await gateway.flush();
    const body = JSON.stringify([someEvent('order.dispatched')]);
    const messageId = randomUUID();
    await createPublisher(await as('order'))({ messageId, subject: 'order.dispatched', body });
    const stored = storedMessages(gateway);
    const { messages, lastSequence } = await stream.state();
    const ids = new Map<number, string>();
    await stored.read(await stored.bounds(), ({ sequence, id }) => void ids.set(sequence, id));
    expect(ids.size).toBe(messages);
    expect(ids.get(lastSequence)).toBe(messageId);
    expect(await stored.from(lastSequence)).toMatchObject({ seq: lastSequence, subject: 'order.dispatched' });
    expect(await stored.from(lastSequence + 1)).toBeNull();
    await eventually('the end is heard', () => ends.length > 0);
    expect(ends).toEqual([body]);
  });

  test('the gateway hears events as they are stored, after those that it reads', async () => {
    const tail = createEventTail(await as('gateway'));
    const publish = createPublisher(await as('payment'));
    const say = (body: string, extra = {}) =>
      publish({ messageId: randomUUID(), subject: 'payment.failed', body }, extra);
    const from = (await tail.last()) + 1;
    await say('["before"]');
    const leaving = new AbortController();
    const bodies: string[] = [];
    const reading = (async () => {
      for await (const { sequence, body } of tail.read(from, leaving.signal)) {
        expect(sequence).toBe(from + bodies.length);
        bodies.push(body);
      }
    })();
    await eventually('the first is read', () => bodies.length === 1);
    const late = Array.from({ length: 50 }, (_, index) => JSON.stringify([index]));
    // A publisher that says another sequence is not believed.
    for (const body of late) await say(body, { 'Nats-Sequence': '1' });
    await eventually('all are heard', () => bodies.length === 1 + late.length);
    leaving.abort();
    await reading;
    expect(bodies).toEqual(['["before"]', ...late]);
  });

  test('provisioning again changes nothing', async () => {
    const before = await stream.everything();
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    expect(await stream.everything()).toEqual(before);
  });
});
