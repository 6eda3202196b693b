/**
 * What the services rely on, asked of every broker that they may meet: the lab's, and in containers the oldest
 * that they accept and the one of a deployment. Rights are the matter of test/security.
 */
import { randomUUID } from 'node:crypto';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { connectNats } from '#libs/nats/connect.ts';
import { type ConsumeOptions, consume } from '#libs/nats/consume.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { deadLetterStream, eventStream, faultStream, messagesOpenMax } from '#libs/nats/streams.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';
import { brokerImages } from '../support/infra.ts';

const subject = 'payment.completed';
const why = inject('whyNoBrokerContainers');

describe(`On ${embedded}`, () => conforms(embedded));
describe.skipIf(why !== null).each(brokerImages)(`On %s${why ? ` (skipped: ${why})` : ''}`, conforms);

function conforms(source: string): void {
  let broker: BrokerServer;
  let manager: JetStreamManager;
  const open: NatsConnection[] = [];

  /** As a service connects, its check of durability included. */
  async function as(user: string): Promise<NatsConnection> {
    const { monitorUrl } = broker;
    const connection = await connectNats({
      url: broker.urlOf(user),
      name: user,
      monitorUrl,
      unsafe: false,
    });
    open.push(connection);
    return connection;
  }

  beforeAll(async () => {
    broker = await startBrokerServer(source);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    const admin = await connect({ ...readNatsUrl(broker.adminUrl), maxReconnectAttempts: -1 });
    open.push(admin);
    manager = await jetstreamManager(admin);
  });
  afterAll(async () => {
    for (const connection of open) await connection.close();
    await broker?.remove();
  });

  const stored = async () => (await manager.streams.info(eventStream)).state.messages;

  async function publishSome(count: number, publish: ReturnType<typeof createPublisher>): Promise<string[]> {
    const ids = Array.from({ length: count }, () => randomUUID());
    const body = JSON.stringify([someEvent(subject)]);
    await Promise.all(ids.map((messageId) => publish({ messageId, subject, body })));
    return ids;
  }

  test('provisioning again changes nothing', async () => {
    const look = async () => {
      const found = [];
      for (const name of [eventStream, deadLetterStream, faultStream]) {
        found.push((await manager.streams.info(name)).config);
      }
      for await (const each of manager.consumers.list(eventStream)) found.push(each.config);
      return found;
    };
    const before = await look();
    expect(before).toHaveLength(8);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    expect(await look()).toEqual(before);
  });

  test('a message is stored once, however often it is published', async () => {
    const publish = createPublisher(await as('payment'));
    const before = await stored();
    const messageId = randomUUID();
    for (let again = 0; again < 3; again++) {
      await publish({ messageId, subject, body: JSON.stringify([someEvent(subject)]) });
    }
    expect(await stored()).toBe(before + 1);
  });

  test('a message that no stream takes is refused, and not lost in silence', async () => {
    const publish = createPublisher(await as('admin'));
    const lost = publish({ messageId: randomUUID(), subject: 'nowhere.said', body: '[]' });
    await expect(lost).rejects.toThrow('no stream takes this subject');
  });

  test('an answer that names no place in the stream does not say that it is stored', async () => {
    const connection = await as('admin');
    const answer = JSON.stringify({ stream: eventStream, seq: 0, duplicate: true });
    connection.subscribe('in-hand.only', { callback: (_, message) => void message.respond(answer) });
    const unknown = createPublisher(connection)({
      messageId: randomUUID(),
      subject: 'in-hand.only',
      body: '[]',
    });
    await expect(unknown).rejects.toThrow('has not stored it yet');
  });

  test('what is given back comes again, and what is acknowledged does not', async () => {
    const publish = createPublisher(await as('payment'));
    const givenBack = new Set<string>();
    const reader = await readAll(await as('inventory'), (id) => {
      if (givenBack.has(id)) return false;
      givenBack.add(id);
      return true;
    });
    const ids = await publishSome(50, publish);
    await eventually('each has come twice', () => ids.every((id) => reader.seen.get(id) === 2));
    await eventually('nothing is open', async () => {
      const { num_pending, num_ack_pending } = await manager.consumers.info(eventStream, 'inventory');
      return num_pending + num_ack_pending === 0;
    });
    expect(ids.filter((id) => reader.seen.get(id) !== 2)).toEqual([]);
    await reader.consuming.stop();
  });

  test('two replicas share the messages of one consumer', async () => {
    const publish = createPublisher(await as('payment'));
    const readers = [await readAll(await as('inventory')), await readAll(await as('inventory'))];
    const ids = await publishSome(2_000, publish);
    const timesSeen = (id: string) => readers.reduce((sum, { seen }) => sum + (seen.get(id) ?? 0), 0);
    await eventually('all are read', () => ids.every((id) => timesSeen(id) > 0));
    expect(ids.filter((id) => timesSeen(id) > 1)).toEqual([]);
    for (const { seen } of readers) expect(seen.size).toBeGreaterThan(0);
    for (const { consuming } of readers) await consuming.stop();
  });

  test('no more is delivered than may be open at once', async () => {
    const publish = createPublisher(await as('payment'));
    const held: (() => void)[] = [];
    const consuming = await consume({
      connection: await as('inventory'),
      durable: 'inventory',
      // In hand, and so kept alive, until it is let go.
      onMessage: (message) =>
        new Promise((resolve) =>
          held.push(() => {
            message.ack();
            resolve();
          }),
        ),
      isFull: () => false,
      onTrouble: () => {},
    });
    // A few at a time: each is synced, and none may wait for longer than a publish may.
    const [atOnce, more] = [500, 150];
    for (let left = messagesOpenMax + more; left > 0; left -= atOnce) {
      await publishSome(Math.min(left, atOnce), publish);
    }
    const consumer = () => manager.consumers.info(eventStream, 'inventory');
    await eventually('the broker stops', async () => (await consumer()).num_ack_pending === messagesOpenMax);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await consumer()).toMatchObject({ num_ack_pending: messagesOpenMax, num_pending: more });
    await eventually('and goes on', async () => {
      for (const letGo of held.splice(0)) letGo();
      const { num_pending, num_ack_pending } = await consumer();
      return num_pending + num_ack_pending === 0;
    });
    await consuming.stop();
  });

  // The last one: acknowledgements that the crash takes come back only after 10 s.
  test('what was acknowledged outlives a SIGKILL, and both sides go on by themselves', async () => {
    const publish = createPublisher(await as('payment'));
    const reader = await readAll(await as('inventory'));
    const before = await publishSome(200, publish);
    const storedBefore = await stored();
    await broker.crash();
    // A question that the client asks while it is still looking for the broker goes unanswered.
    const storedAfter = await eventually('the stream answers', () => stored().catch(() => undefined));
    expect(storedAfter).toBe(storedBefore);
    const after = await eventually('it is published again', () =>
      publishSome(20, publish).catch(() => undefined),
    );
    await eventually('all are read', () => [...before, ...after].every((id) => reader.seen.has(id)));
    await reader.consuming.stop();
  });
}

/** Counts what comes, by message id. */
async function readAll(connection: NatsConnection, isGivenBack: (id: string) => boolean = () => false) {
  const seen = new Map<string, number>();
  const onMessage: ConsumeOptions['onMessage'] = async (message) => {
    const id = message.headers?.get('Nats-Msg-Id') ?? '';
    seen.set(id, (seen.get(id) ?? 0) + 1);
    if (isGivenBack(id)) message.nak();
    // One that the broker takes with it into its crash is not lost: the message comes again.
    else await message.ackAck().catch(() => undefined);
  };
  const consuming = await consume({
    connection,
    durable: 'inventory',
    onMessage,
    isFull: () => false,
    onTrouble: () => {},
  });
  return { seen, consuming };
}
