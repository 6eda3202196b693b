/**
 * Whoever asks the broker names the subject of the answer, and the broker does not look whether the asker may
 * publish there. So does who has a message traced, or delivered by a consumer. Everything that a user is let ask is
 * asked here with answers that would destroy; what is damaged then is told by admin.
 */
import { randomUUID } from 'node:crypto';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import { expect } from 'vitest';
import { type EventType, serviceNames } from '#libs/contracts/events.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { deadLetterStream, eventStream, faultStream } from '#libs/nats/streams.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import type { Broker } from './broker.ts';
import { granted, openAs } from './broker-rights.ts';

/** Each service hears one of them. */
const opened: EventType[] = [
  'order.placement.requested',
  'payment.completed',
  'payment.failed',
  'order.confirmed',
];
const sequences = opened.map((_, index) => index + 1);
const api = '$JS.API';
const streams = [eventStream, deadLetterStream, faultStream];
const settledMs = 300;

/** An empty answer there destroys, and to some of them any. Each consumer has one of the first messages open. */
const destructive = [
  ...serviceNames.flatMap((name) => [
    ...sequences.map((sequence) => `$JS.ACK.${eventStream}.${name}.1.${sequence}.1.1.0`),
    `$JS.ACK._.hash.${eventStream}.${name}.1.1.1.1.0`,
    `${api}.CONSUMER.DELETE.${eventStream}.${name}`,
  ]),
  ...streams.map((stream) => `${api}.STREAM.PURGE.${stream}`),
  ...streams.map((stream) => `${api}.STREAM.DELETE.${stream}`),
];

/** What this user's attack takes from a broker where each stream holds something and each service has a message open. */
export async function damageBy(user: string, broker: Broker): Promise<string[]> {
  await provisionBroker({ url: broker.adminUrl, replicas: 1 });
  const admin = await openAs(broker.adminUrl);
  const attacker = await openAs(broker.urlOf(user));
  try {
    const publish = createPublisher(admin);
    for (const subject of [...opened, 'dead-letter.order', '$KV.faults.active']) {
      await publish({ messageId: randomUUID(), subject, body: '[]' });
    }
    for (const name of serviceNames) {
      const consumer = await jetstream(admin).consumers.get(eventStream, name);
      expect(await consumer.next({ expires: 2_000 })).not.toBeNull();
    }
    const before = await takeInventory(admin);
    await attackByAnswers(attacker, user);
    return damage(before, await takeInventory(admin), user);
  } finally {
    await attacker.close();
    await admin.close();
  }
}

/** Everything that the user may publish, and what it would need to have messages sent on. */
async function attackByAnswers(connection: NatsConnection, user: string): Promise<void> {
  const asked = granted(user, true).flatMap(({ may, subject }) =>
    may === 'publish' ? askedOf(subject) : [],
  );
  for (const [index, reply] of destructive.entries()) {
    const traced = headers();
    traced.set('Nats-Trace-Dest', reply);
    for (const { subject, body } of asked) {
      connection.publish(subject, body, { reply });
      connection.publish(subject, body, { headers: traced });
    }
    const config = { name: `spy${index}`, deliver_subject: reply, headers_only: true, ack_policy: 'none' };
    const create = `${api}.CONSUMER.CREATE.${eventStream}.${config.name}`;
    connection.publish(create, JSON.stringify({ stream_name: eventStream, config }));
    await connection.flush();
  }
  await new Promise((resolve) => setTimeout(resolve, settledMs));
}

/** So that it is answered: an acknowledgement by nothing, an empty consumer by a status without a body. */
function askedOf(subject: string): { subject: string; body: string }[] {
  const nextOf = { batch: 1, no_wait: true };
  const body = subject.includes('.MSG.NEXT.') ? JSON.stringify(nextOf) : '';
  if (!subject.startsWith(`$JS.ACK.${eventStream}`)) return [{ subject, body }];
  return sequences.map((sequence) => ({ subject: subject.replace(/x$/, `1.${sequence}.1.1.0`), body }));
}

type Inventory = Awaited<ReturnType<typeof takeInventory>>;

async function takeInventory(admin: NatsConnection) {
  const manager = await jetstreamManager(admin, { checkAPI: false });
  const messages = new Map<string, number>();
  for await (const { config, state } of manager.streams.list()) messages.set(config.name, state.messages);
  const unread = new Map<string, number>();
  if (messages.has(eventStream)) {
    for await (const found of manager.consumers.list(eventStream)) {
      unread.set(found.name, found.num_pending + found.num_ack_pending);
    }
  }
  return { messages, unread };
}

/** What has become less. A user may take what is its own: its messages are read by `user`. */
function damage(before: Inventory, after: Inventory, user: string): string[] {
  const less = (what: string, one: Map<string, number>, other: Map<string, number>) =>
    [...one].flatMap(([name, count]) => {
      const left = other.get(name);
      if (left === undefined) return [`${what} ${name} is gone`];
      return left < count && name !== user ? [`${what} ${name}: ${left} of ${count}`] : [];
    });
  return [
    ...less('stream', before.messages, after.messages),
    ...less('consumer', before.unread, after.unread),
  ];
}
