/** Listeners of `GET /api/events`, whose stream loses its tail or is made anew. */
import { randomUUID } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { createHttp } from '#libs/service/http.ts';
import { createEventTail } from '#services/console/event-tail.ts';
import { eventRoutes } from '#services/console/events.ts';
import { ensureAll, provisionBroker } from '../../infra/nats/provision.ts';
import { listen as listenOver } from '../lab/listener.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { someEvent } from '../support/events.ts';
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
async function listen(reconnectMs: number, silenceMs?: number): Promise<NatsConnection> {
  const connection = await as(broker.urlOf('gateway'), reconnectMs);
  const tail = createEventTail(connection, silenceMs);
  const messages = tail.read((await tail.last()) + 1, listening.signal);
  reading = (async () => {
    for await (const { body } of messages) heard.push(body);
  })();
  return connection;
}

async function reconnected(connection: NatsConnection): Promise<void> {
  for await (const { type } of connection.status()) if (type === 'reconnect') return;
}

/** By a client of its own, which finds the broker whenever it is there. */
async function say(...bodies: string[]): Promise<void> {
  const publish = createPublisher(await as(broker.urlOf('payment'), 20));
  for (const body of bodies) await publish({ messageId: randomUUID(), subject: 'payment.failed', body });
}

const several = (name: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${name} ${index}`);

const older = (store: string) => `${store}-older`;

async function keepCopy(): Promise<void> {
  await broker.whileDown?.((store) => cpSync(store, older(store), { recursive: true }));
  await eventually('the broker is back', () => manager.streams.info(eventStream));
}

/** What was said since is lost. */
async function putBack(): Promise<void> {
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
    await keepCopy();
    await say(...lost);
    await eventually('they are heard', () => heard.length === first.length + lost.length);
    await putBack();
    const { state } = await manager.streams.info(eventStream);
    expect(state.last_seq).toBe(5 + first.length);
    const again = several('again', count);
    await say(...again);
    await eventually('it goes on', () => heard.at(-1) === again.at(-1));
    expect(heard).toEqual([...first, ...lost, ...again]);
  },
);

test('A stream that nobody heard grow to where it had been, and then one message more, is heard from where it goes on', async () => {
  const neverMs = 60_000;
  await say(...several('before', 5));
  const connection = await listen(2_000, neverMs);
  const first = several('first', 3);
  await say(...first);
  await eventually('the first are heard', () => heard.length === first.length);
  let back = reconnected(connection);
  await keepCopy();
  await back;
  await say(...lost);
  await eventually('they are heard', () => heard.length === first.length + lost.length);
  back = reconnected(connection);
  await putBack();
  const again = several('again', lost.length);
  await say(...again);
  await back;
  await say('one more');
  await eventually('it goes on', () => heard.at(-1) === 'one more');
  expect(heard).toEqual([...first, ...lost, ...again, 'one more']);
});

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

describe('A listener that comes back with an id', () => {
  const eventOf = (reason: string) => someEvent('payment.failed', { data: { reason } });
  const sayEvents = (...messages: string[][]) =>
    say(...messages.map((reasons) => JSON.stringify(reasons.map(eventOf))));
  const eachAlone = (reasons: string[]) => reasons.map((reason) => [reason]);

  async function serve() {
    const app = createHttp({
      logger: pino({ level: 'silent' }),
      health: async () => ({ ready: true, detail: {} }),
      metrics: async () => '',
    });
    const connection = await as(broker.urlOf('gateway'), 20);
    eventRoutes(app, connection);
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    const follow = async (lastEventId?: string) => {
      // While it has no broker it takes no listener in.
      await eventually('the gateway has the broker', () => connection.flush().then(() => true));
      const listener = await listenOver(url, '/api/events', lastEventId);
      return { ...listener, reasons: () => listener.events().map(({ data }) => data.data.reason) };
    };
    return { follow, [Symbol.asyncDispose]: () => app.close() };
  }

  test.each([
    ['shorter than it was', 3],
    ['longer than it was', 9],
  ])('of a message that is lost hears what was stored since, when the stream is %s', async (_, count) => {
    await using gateway = await serve();
    await sayEvents(...eachAlone(several('before', 8)));
    await keepCopy();
    await using first = await gateway.follow();
    await sayEvents(...eachAlone(lost));
    await eventually('they are heard', () => first.reasons().length === lost.length);
    const id = first.events().at(-1)?.id;
    await putBack();
    const again = several('again', count);
    await sayEvents(...eachAlone(again));
    await using returned = await gateway.follow(id);
    await eventually('the last is heard', () => returned.reasons().at(-1) === again.at(-1));
    expect(returned.reasons()).toEqual(again);
  });

  test.each([
    ['as it is', ''],
    ['as it was once, without a time', '9-0'],
  ])('%s, hears all of a message that gets the same sequence later', async (_, oldId) => {
    await using gateway = await serve();
    await sayEvents(...eachAlone(several('before', 8)));
    await keepCopy();
    await using first = await gateway.follow();
    await sayEvents(['heard', 'rest']);
    await eventually('both are heard', () => first.reasons().length === 2);
    await using returned = await gateway.follow(oldId || first.events()[0]?.id);
    await eventually('the rest is heard', () => returned.reasons().length === 1);
    await putBack();
    await sayEvents(['again 0', 'again 1']);
    await eventually('the last is heard', () => returned.reasons().at(-1) === 'again 1');
    expect(returned.reasons()).toEqual(['rest', 'again 0', 'again 1']);
  });
});
