/** The stream as a whole, read by who may make no consumer: in batches where the broker knows them (2.11), else one by one. */
import { randomUUID } from 'node:crypto';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { someEvent } from '../support/events.ts';
import { brokerImages } from '../support/infra.ts';

const why = inject('whyNoBrokerContainers');
const subject = 'payment.completed';
/** More than one batch of them, and not all of them in one request. */
const [count, atOnce] = [2_400, 300];

describe(`On ${embedded}`, () => reads(embedded));
describe.skipIf(why !== null).each(brokerImages)(`On %s${why ? ` (skipped: ${why})` : ''}`, reads);

function reads(source: string): void {
  let broker: BrokerServer;
  let manager: JetStreamManager;
  const open: NatsConnection[] = [];
  const published = new Map<number, string>();

  const as = async (user: string) => {
    const connection = await connect(readNatsUrl(broker.urlOf(user)));
    open.push(connection);
    return connection;
  };

  beforeAll(async () => {
    broker = await startBrokerServer(source);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    manager = await jetstreamManager(await as('admin'));
    const publish = createPublisher(await as('payment'));
    const body = JSON.stringify([someEvent(subject)]);
    for (let left = count; left > 0; left -= atOnce) {
      const ids = Array.from({ length: atOnce }, () => randomUUID());
      const places = await Promise.all(ids.map((messageId) => publish({ messageId, subject, body })));
      for (const [index, sequence] of places.entries()) published.set(sequence, ids[index] ?? '');
    }
  }, 60_000);
  afterAll(async () => {
    for (const connection of open) await connection.close();
    await broker?.remove();
  });

  async function readAll(): Promise<Map<number, string>> {
    const stored = storedMessages(await as('gateway'));
    const found = new Map<number, string>();
    await stored.read(await stored.bounds(), ({ sequence, id, body }) => {
      expect(JSON.parse(body.toString())).toHaveLength(1);
      expect(found.has(sequence)).toBe(false);
      found.set(sequence, id);
    });
    return found;
  }

  test('all of it is read, each message once', async () => {
    expect(await readAll()).toEqual(published);
  });

  test('what is deleted is left out, inside and at the end', async () => {
    for (const sequence of [5, count - 1, count]) {
      await manager.streams.deleteMessage(eventStream, sequence);
      published.delete(sequence);
    }
    expect(await readAll()).toEqual(published);
  });

  test('a stream of an older version, which answers no direct gets, is read from its leader', async () => {
    const { config } = await manager.streams.info(eventStream);
    await manager.streams.update(eventStream, { ...config, allow_direct: false });
    expect(await readAll()).toEqual(published);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    expect((await manager.streams.info(eventStream)).config.allow_direct).toBe(true);
  });

  test('an empty stream ends at once', async () => {
    await manager.streams.purge(eventStream);
    expect(await readAll()).toEqual(new Map());
  });
}
