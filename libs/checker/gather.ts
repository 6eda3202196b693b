/**
 * Gathers what the checker looks at: every database in one snapshot each, and the stream. The order database is read
 * first, so that what it calls ended has ended everywhere by the time the others are read; what is still
 * under way is judged by the rules about time, not by those about effects. For two-phase commit, which has no
 * such order among the databases, see two-phase-facts.ts.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { StreamMessage } from '#libs/nats/read-stream.ts';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import {
  type Facts,
  type OutboxFact,
  type ReadOf,
  readEffects,
  readOrders,
  readOutboxes,
  readOutboxIds,
} from './facts.ts';
import { type Clients, findLate, readTrail } from './trail-facts.ts';
import { type Read, readBranches, readDue, readLog, readPrepared } from './two-phase-facts.ts';

/** Without the coordinator's the rules of two-phase commit say that they cannot look. */
export type AuditUrls = Record<ServiceName, string> & { coordinator?: string | undefined };

export async function gatherFacts(urls: AuditUrls, connection: NatsConnection): Promise<Facts> {
  const opened = await Promise.all(serviceNames.map((name) => openClient(urls[name])));
  const byName = new Map(serviceNames.map((name, index) => [name, opened[index] as pg.Client]));
  const coordinator = urls.coordinator === undefined ? undefined : await openClient(urls.coordinator);
  const clients = coordinator ? [...opened, coordinator] : opened;
  const readerFor = (service: ServiceName) => readerOf(byName.get(service) as pg.Client);
  const read: ReadOf = (service, text) => readerFor(service)(text);

  try {
    const logReader = coordinator && readerOf(coordinator);
    const due = await readDue(logReader);
    await byName.get('order')?.query(snapshot);
    const orders = await readOrders(read);
    await Promise.all(
      serviceNames.filter((name) => name !== 'order').map((name) => byName.get(name)?.query(snapshot)),
    );
    const outboxBefore = await readOutboxes(read);
    // By this query every database has its snapshot: what these show as decided is in the log from now on.
    await coordinator?.query(snapshot);
    const log = await readLog(logReader, due);
    const branches = await readBranches(readerFor, log);
    const prepared = (
      await Promise.all(serviceNames.map((name) => readPrepared(name, readerFor(name))))
    ).flat();
    // The stream is read between two looks at the databases: each direction of I6 and of I14 has its right order.
    const messages = noteMessages(outboxBefore);
    // Beside each other: the databases work out the one while this process reads the other.
    const [effects, trail] = await Promise.all([
      readEffects(read),
      readTrail(byName, orders, (take) =>
        readStream(connection, (message) => {
          messages.note(message);
          take(message);
        }),
      ),
    ]);
    await nameGone(byName, outboxBefore, messages);
    await Promise.all(clients.map((client) => client.query('commit')));
    await findLate(byName, trail);
    const outboxAfter = await readOutboxIds(read);
    const { stream, speaksOf } = messages;
    return {
      orders,
      outboxBefore,
      ...effects,
      stream,
      speaksOf,
      outboxAfter,
      trail,
      twoPhase: { log, branches, prepared },
    };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Up to the end that it has now. */
async function readStream(connection: NatsConnection, take: (message: StreamMessage) => void): Promise<void> {
  const stored = storedMessages(connection);
  await stored.read(await stored.bounds(), take);
}

type Messages = { stream: Set<string>; speaksOf: Map<string, string> };

function noteMessages(outbox: readonly OutboxFact[]): Messages & { note(message: StreamMessage): void } {
  const known = new Set(outbox.map(({ messageId }) => messageId));
  const stream = new Set<string>();
  const speaksOf = new Map<string, string>();
  return {
    stream,
    speaksOf,
    note({ sequence, id, body }) {
      // What the broker had forgotten has a second part in its id (libs/step/relay.ts).
      const messageId = id.split('/')[0] || `(no id, sequence ${sequence})`;
      stream.add(messageId);
      const orderId = known.has(messageId)
        ? undefined
        : /"subject":"([0-9a-f-]{36})"/.exec(body.toString())?.[1];
      if (orderId !== undefined) speaksOf.set(messageId, orderId);
    },
  };
}

const goneNamedMax = 100;

/** Whom the rows speak of that were published and are not in the stream. */
async function nameGone(
  clients: Clients,
  outbox: readonly OutboxFact[],
  { stream, speaksOf }: Messages,
): Promise<void> {
  const gone = outbox.filter(({ published, messageId }) => published && !stream.has(messageId));
  const named = Map.groupBy(gone.slice(0, goneNamedMax), ({ service }) => service);
  for (const [service, rows] of named) {
    const found = await clients.get(service)?.query<{ messageId: string; orderId: string | null }>(
      `select message_id as "messageId", body::json -> 0 ->> 'subject' as "orderId" from outbox
       where message_id = any($1::uuid[])`,
      [rows.map(({ messageId }) => messageId)],
    );
    for (const { messageId, orderId } of found?.rows ?? [])
      if (orderId !== null) speaksOf.set(messageId, orderId);
  }
}

const snapshot = 'begin isolation level repeatable read read only';
const statementTimeoutMs = 60_000;

async function openClient(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: 'checker',
    statement_timeout: statementTimeoutMs,
  });
  // Whoever waits for a query hears of a lost connection; without a listener it would end the process.
  client.on('error', () => {});
  await client.connect();
  return client;
}

const readerOf =
  (client: pg.Client): Read =>
  async (text, values) =>
    (await client.query(text, values)).rows;
