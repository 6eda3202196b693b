/** Listeners of `GET /api/events`, whose stream loses its tail or is made anew. */
import { randomUUID } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { createEventTail } from '#services/console/event-tail.ts';
import { ensureAll, provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { eventually } from '../support/eventually.ts';

let broker: BrokerServer;
let manager: JetStreamManager;
let listening: AbortController;
let reading: Promise<void>;
let heard: string[];
const open: NatsConnection[] = [];

async function as(url: string, reconnectTimeWait: number): Promise<NatsConnection> {
  const connection = await connect({ ...readNatsUrl(url), maxReconnectAttempts: -1, reconnectTimeWait });
  open.push(connection);
  return connection;
}

beforeEach(async () => {
  broker = await startBrokerServer(embedded);
  await provisionBroker({ url: broker.adminUrl, replicas: 1 });
  // A question that the broker does not hear is not waited for.
  manager = await jetstreamManager(await as(broker.adminUrl, 20), { timeout: 500 });
  listening = new AbortController();
  heard = [];
});
afterEach(async () => {
  listening?.abort();
  await reading;
  for (const connection of open.splice(0)) await connection.close();
  await broker?.remove();
});

/** From the next message on. */
async function listen(reconnectMs: number): Promise<void> {
  const tail = createEventTail(await as(broker.urlOf('gateway'), reconnectMs));
  const messages = tail.read((await tail.last()) + 1, listening.signal);
  reading = (async () => {
    for await (const { body } of messages) heard.push(body);
  })();
}

/** By a client of its own, which finds the broker whenever it is there. */
async function say(...bodies: string[]): Promise<void> {
  const publish = createPublisher(await as(broker.urlOf('payment'), 20));
  for (const body of bodies) await publish({ messageId: randomUUID(), subject: 'payment.failed', body });
}

const several = (name: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${name} ${index}`);

/** Back to where it stood at the first call, which leaves a copy; what `meanwhile` says is lost. */
async function loseTail(meanwhile: () => Promise<void>): Promise<void> {
  const older = (store: string) => `${store}-older`;
  await broker.whileDown?.((store) => cpSync(store, older(store), { recursive: true }));
  await eventually('the broker is back', () => manager.streams.info(eventStream));
  await meanwhile();
  await broker.whileDown?.((store) => {
    rmSync(store, { recursive: true });
    cpSync(older(store), store, { recursive: true });
  });
  await eventually('the broker is back again', () => manager.streams.info(eventStream));
}

const lost = several('lost', 5);

test.each([
  ['at once', 20, 3],
  ['while nobody is there to hear them', 2_000, 3],
  ['as far as it had been, while nobody is there', 2_000, 5],
  ['beyond where it had been, while nobody is there', 2_000, 9],
])(
  'A stream that has lost its tail and grows again, %s, is heard from where it goes on',
  async (_, ms, count) => {
    await say(...several('before', 5));
    await listen(ms);
    const first = several('first', 3);
    await say(...first);
    await eventually('the first are heard', () => heard.length === first.length);
    await loseTail(async () => {
      await say(...lost);
      await eventually('they are heard', () => heard.length === first.length + lost.length);
    });
    const { state } = await manager.streams.info(eventStream);
    expect(state.last_seq).toBe(5 + first.length);
    const again = several('again', count);
    await say(...again);
    await eventually('it goes on', () => heard.at(-1) === again.at(-1));
    expect(heard).toEqual([...first, ...lost, ...again]);
  },
);

test('A stream that was made anew is heard from its beginning', async () => {
  await say(...several('before', 5));
  await listen(20);
  await say('first');
  await eventually('it is heard', () => heard.length === 1);
  await manager.streams.delete(eventStream);
  await ensureAll(manager, 1);
  await say('anew 0', 'anew 1');
  await eventually('it goes on', () => heard.length === 3);
  expect(heard).toEqual(['first', 'anew 0', 'anew 1']);
});
