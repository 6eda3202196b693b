/** A service that has more to do than is good for it, asked of every broker that it may meet. */
import { randomUUID } from 'node:crypto';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { type Consuming, consume, messagesAheadMax, requestMs } from '#libs/nats/consume.ts';
import { createPublisher, type Publish } from '#libs/nats/publish.ts';
import { ackWaitMs, eventStream } from '#libs/nats/streams.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';
import { brokerImages } from '../support/infra.ts';

const subject = 'payment.completed';
const why = inject('whyNoBrokerContainers');

describe(`On ${embedded}`, () => holds(embedded));
describe.skipIf(why !== null).each(brokerImages)(`On %s${why ? ` (skipped: ${why})` : ''}`, holds);

function holds(source: string): void {
  let broker: BrokerServer;
  let manager: JetStreamManager;
  let publish: Publish;
  let consuming: Consuming;
  let isFull = false;
  /** How often each message came, by its id. */
  const seen = new Map<string, number>();
  const open: NatsConnection[] = [];

  async function as(url: string): Promise<NatsConnection> {
    const connection = await connect(readNatsUrl(url));
    open.push(connection);
    return connection;
  }

  beforeAll(async () => {
    broker = await startBrokerServer(source);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    manager = await jetstreamManager(await as(broker.adminUrl));
    publish = createPublisher(await as(broker.urlOf('payment')));
    consuming = await consume({
      connection: await as(broker.urlOf('inventory')),
      durable: 'inventory',
      async onMessage(message) {
        const id = message.headers?.get('Nats-Msg-Id') ?? '';
        seen.set(id, (seen.get(id) ?? 0) + 1);
        message.ack();
      },
      isFull: () => isFull,
      onTrouble: () => {},
    });
    await publishSome(1);
    await eventually('one is read', () => seen.size === 1);
  });
  afterAll(async () => {
    await consuming?.stop();
    for (const connection of open) await connection.close();
    await broker?.remove();
  });

  /** A few at a time: each is synced, and none may wait for longer than a publish may. */
  async function publishSome(count: number): Promise<string[]> {
    const ids = Array.from({ length: count }, () => randomUUID());
    const body = JSON.stringify([someEvent(subject)]);
    for (let first = 0; first < count; first += 100) {
      const some = ids.slice(first, first + 100);
      await Promise.all(some.map((messageId) => publish({ messageId, subject, body })));
    }
    return ids;
  }

  test('a reader that is full takes nothing more in, and goes on when it has room', async () => {
    isFull = true;
    const ids = await publishSome(100);
    await pause(500);
    expect(ids.filter((id) => seen.has(id))).toEqual([]);
    isFull = false;
    await eventually('all are read', () => ids.every((id) => seen.has(id)));
  });

  test('what a reader was sent before it was full does not come again, however long it has no room', async () => {
    isFull = true;
    const ids = await publishSome(1_200);
    await pause(requestMs);
    const consumer = () => manager.consumers.info(eventStream, 'inventory');
    const { num_ack_pending, num_pending } = await consumer();
    // A request that the client has given up may be answered beside the one after it.
    expect(num_ack_pending).toBeGreaterThanOrEqual(messagesAheadMax / 2);
    expect(num_pending).toBeGreaterThan(0);
    await pause(1.3 * ackWaitMs);
    // Nothing more was asked for, and what was sent is alive.
    expect(await consumer()).toMatchObject({ num_ack_pending, num_pending, num_redelivered: 0 });
    isFull = false;
    await eventually('all are read', () => ids.every((id) => seen.has(id)));
    expect(ids.filter((id) => seen.get(id) !== 1)).toEqual([]);
  });
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
