/** What noticing that a broker forgot relies on, asked of every broker that the services may meet. */
import { randomUUID } from 'node:crypto';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { consume } from '#libs/nats/consume.ts';
import { lookingAt } from '#libs/nats/looking.ts';
import { createPublisher, type PublisherOptions } from '#libs/nats/publish.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { keepBroker } from '../../infra/nats/keeper.ts';
import { ensureAll, provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { eventually } from '../support/eventually.ts';
import { brokerImages } from '../support/infra.ts';

const why = inject('whyNoBrokerContainers');
const subject = 'payment.completed';

describe(`On ${embedded}`, () => forgets(embedded));
describe.skipIf(why !== null).each(brokerImages)(`On %s${why ? ` (skipped: ${why})` : ''}`, forgets);

function forgets(source: string): void {
  let broker: BrokerServer;
  let manager: JetStreamManager;
  let payment: NatsConnection;
  const open: NatsConnection[] = [];

  const as = async (url: string) => {
    const connection = await connect({ ...readNatsUrl(url), maxReconnectAttempts: -1 });
    open.push(connection);
    return connection;
  };
  const publishSome = async (count: number, on = subject, options: PublisherOptions = {}) => {
    const publish = createPublisher(payment, options);
    const sequences: number[] = [];
    for (let each = 0; each < count; each++) {
      sequences.push(await publish({ messageId: randomUUID(), subject: on, body: '[]' }));
    }
    return sequences;
  };

  beforeAll(async () => {
    broker = await startBrokerServer(source);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    manager = await jetstreamManager(await as(broker.adminUrl), { checkAPI: false });
    payment = await as(broker.urlOf('payment'));
  });
  beforeEach(async () => {
    await manager.streams.purge(eventStream);
  });
  afterAll(async () => {
    for (const connection of open) await connection.close();
    await broker?.remove();
  });

  test('a service sees where its subjects end, stores nothing by looking, and sees no other', async () => {
    const [, second = 0] = await publishSome(2);
    const [failed = 0] = await publishSome(1, 'payment.failed');
    const looking = lookingAt(payment);
    const subjects = [subject, 'payment.failed', 'payment.refunded'];
    expect(await looking.lastOn(subjects)).toEqual([second, failed, 0]);
    expect(await looking.ends()).toEqual({ first: second - 1, last: failed, holes: [] });
    await expect(looking.lastOn(['order.confirmed'])).rejects.toThrow();
  });

  test('a service sees what was deleted and what was purged', async () => {
    const [first = 0, second = 0, third = 0] = await publishSome(3);
    await manager.streams.deleteMessage(eventStream, second);
    const looking = lookingAt(payment);
    expect(await looking.ends()).toEqual({ first, last: third, holes: [second] });
    await manager.streams.purge(eventStream);
    expect(await looking.ends()).toMatchObject({ first: third + 1, last: third, holes: [] });
    expect(await looking.lastOn([subject])).toEqual([0]);
  });

  test('a last message that was deleted does not make those before it look lost', async () => {
    const [, second = 0, third = 0] = await publishSome(3);
    await manager.streams.deleteMessage(eventStream, third);
    const [last = 0] = await lookingAt(payment).lastOn([subject]);
    // Some brokers say where it is, others only that there is one.
    expect(last).toBeGreaterThanOrEqual(second);
  });

  test('after a purge the broker calls a lost message a repeat, and takes it under another id', async () => {
    const publish = createPublisher(payment);
    const message = { messageId: randomUUID(), subject, body: '[]' };
    const sequence = await publish(message);
    await manager.streams.purge(eventStream);
    expect(await publish(message)).toBe(sequence);
    expect((await manager.streams.info(eventStream)).state.messages).toBe(0);
    expect(await publish({ ...message, messageId: `${message.messageId}/${sequence}` })).toBe(sequence + 1);
  });

  test('a publisher that is held sends nothing until it may, and fails when that fails', async () => {
    const stored = async () => (await manager.streams.info(eventStream)).state.messages;
    const before = await stored();
    const gate = Promise.withResolvers<void>();
    let isOpen = false;
    const waiting = publishSome(1, subject, { opening: () => (isOpen ? undefined : gate.promise) });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await stored()).toBe(before);
    isOpen = true;
    gate.resolve();
    await waiting;
    expect(await stored()).toBe(before + 1);
    const never = { opening: () => Promise.reject(new Error('never looked at')) };
    await expect(publishSome(1, subject, never)).rejects.toThrow('never looked at');
    expect(await stored()).toBe(before + 1);
  });

  test('sequences that are used again are noticed by whoever publishes, once for each loss', async () => {
    const reuses: [number, number][] = [];
    const publish = createPublisher(payment, { onReused: (from, upTo) => reuses.push([from, upTo]) });
    const send = () => publish({ messageId: randomUUID(), subject, body: '[]' });
    const before = [await send(), await send(), await send()];
    await manager.streams.delete(eventStream);
    await ensureAll(manager, 1);
    expect(reuses).toEqual([]);
    expect([await send(), await send()]).toEqual([1, 2]);
    expect(reuses).toEqual([[1, before.at(-1)]]);
  });

  test('a consumer that is deleted is told, asked for patiently, and goes on when the keeper has made it', async () => {
    const seen: string[] = [];
    let deletions = 0;
    const consuming = await consume({
      connection: await as(broker.urlOf('inventory')),
      durable: 'inventory',
      async onMessage(message) {
        seen.push(message.subject);
        message.ack();
      },
      isFull: () => false,
      onDeleted: () => {
        deletions += 1;
      },
      onTrouble: () => {},
    });
    await publishSome(1);
    await eventually('the first is read', () => seen.length === 1);
    await manager.consumers.delete(eventStream, 'inventory');
    await eventually('it is told', () => deletions === 1);
    expect(await lookingAt(open.at(-1) as NatsConnection).consumer('inventory')).toBe('is missing');
    await publishSome(1);
    expect(await messagesIn(3_000)).toBeLessThan(30);
    const said: string[] = [];
    const keeper = await keepBroker({ url: broker.adminUrl, replicas: 1, say: (line) => said.push(line) });
    await eventually('both are read', () => seen.length >= 3);
    await keeper.stop();
    await consuming.stop();
    expect(said).toEqual(['the keeper made the consumer inventory again: it was missing']);
    expect([keeper.repairs(), keeper.isReady()]).toEqual([1, true]);
  });

  test('the keeper makes a stream again, with its consumers', async () => {
    await manager.streams.delete(eventStream);
    const said: string[] = [];
    const keeper = await keepBroker({ url: broker.adminUrl, replicas: 1, say: (line) => said.push(line) });
    await eventually('it says so', () => said.length > 0);
    await keeper.stop();
    expect(said).toEqual([`the keeper made the stream ${eventStream} again: it was missing`]);
    expect(await lookingAt(payment).consumer('payment')).toBeNull();
  });

  /** How many the broker is sent in so long. */
  async function messagesIn(ms: number): Promise<number> {
    const count = async () => {
      const varz = await fetch(`${broker.monitorUrl}/varz`);
      return ((await varz.json()) as { in_msgs: number }).in_msgs;
    };
    const before = await count();
    await new Promise((resolve) => setTimeout(resolve, ms));
    return (await count()) - before;
  }
}
