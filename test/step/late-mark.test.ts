/** A mark that is under way while the broker loses what it says: a real broker, put back to an older copy, and a real outbox. */
import { randomUUIDv7 } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { readNatsUrl } from '#libs/nats/address.ts';
import { lookingAt } from '#libs/nats/looking.ts';
import { createPublisher, type Publish } from '#libs/nats/publish.ts';
import { openTransaction, runThenCommit } from '#libs/postgres/transaction.ts';
import { markPublished } from '#libs/step/outbox.ts';
import { type StreamWatch, watchStream } from '#libs/step/stream-watch.ts';
import { payment } from '#services/payment/service.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

const subject = 'payment.completed';
let world: World;
let broker: BrokerServer;
let connection: NatsConnection;
let watch: StreamWatch;
let publish: Publish;
let forgotten: number;

beforeEach(async () => {
  world = await openWorld(inject('adminUrl'), payment);
  broker = await startBrokerServer(embedded);
  await provisionBroker({ url: broker.adminUrl, replicas: 1 });
  const reconnecting = { maxReconnectAttempts: -1, reconnectTimeWait: 100 };
  connection = await connect({ ...readNatsUrl(broker.urlOf('payment')), ...reconnecting });
  // Without the sequences that a living process remembers: another one may have published the message.
  publish = createPublisher(connection, { opening: () => watch.opening() });
  forgotten = 0;
  watch = watchStream(connection, {
    looking: lookingAt(connection),
    pool: world.pool,
    subjects: [subject],
    durable: 'payment',
    now: () => new Date(),
    onAway: () => {},
    onForgotten: (messages) => {
      forgotten += messages;
    },
    onConsumer: () => {},
    onTrouble: () => {},
  });
  await watch.opened;
});
afterEach(async () => {
  await watch.stop();
  await connection.close();
  await broker.remove();
  await world[Symbol.asyncDispose]();
});

/** An outbox row whose message the broker has stored, and which is not marked yet. */
async function store() {
  const messageId = randomUUIDv7();
  await world.query(
    `insert into outbox (message_id, subject, events, body, created_at) values ($1, $2, 0, '[]', now())`,
    [messageId, subject],
  );
  // What waits too long for the stream to be looked at is refused: the relay would try again.
  const sequence = await eventually('it is stored', () =>
    publish({ messageId, subject, body: '[]' }).catch(() => undefined),
  );
  return { messageId, sequence, storedAt: new Date() };
}
const mark = (...stored: Awaited<ReturnType<typeof store>>[]) =>
  runThenCommit(world.pool, (tx) => markPublished(tx, stored));
const unpublished = async () =>
  (await world.query<{ id: string }>('select message_id as id from outbox where published_at is null')).map(
    ({ id }) => id,
  );

test('A message that is marked only when the end of its subject has grown over its loss goes out again', async () => {
  await mark(await store());
  const older = (path: string) => `${path}-older`;
  await broker.whileDown?.((path) => cpSync(path, older(path), { recursive: true }));
  const lost = await store();
  const marking = await openTransaction(world.pool);
  await markPublished(marking.tx, [lost]);
  await broker.whileDown?.((path) => {
    rmSync(path, { recursive: true });
    cpSync(older(path), path, { recursive: true });
  });
  const [next, afterIt] = [await store(), await store()];
  expect(next.sequence).toBe(lost.sequence);
  await mark(next, afterIt);
  expect(forgotten).toBe(0);
  await marking.commit();
  await eventually('it is taken back', () => forgotten > 0);
  expect(await unpublished()).toEqual([lost.messageId]);
  expect(forgotten).toBe(1);
});

test('A mark that comes late over a broker that was away and has lost nothing stays', async () => {
  const late = await store();
  const marking = await openTransaction(world.pool);
  await markPublished(marking.tx, [late]);
  await broker.whileDown?.(() => {});
  await mark(await store());
  await marking.commit();
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  expect([forgotten, await unpublished()]).toEqual([0, []]);
});
