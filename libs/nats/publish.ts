/** Publishes outbox messages. The message id is the outbox row's, so a repeat is recognised by the broker. */
import { type JetStreamClient, jetstream } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import { batchContentType } from '#libs/contracts/events.ts';

const publishTimeoutMs = 5_000;

export type Message = { messageId: string; subject: string; body: string };
export type Publish = (message: Message, extraHeaders?: Record<string, string>) => Promise<void>;

/** The returned function resolves when the broker has stored the message, and rejects when that is unknown. */
export function createPublisher(connection: NatsConnection): Publish {
  const client: JetStreamClient = jetstream(connection, { timeout: publishTimeoutMs });
  return async ({ messageId, subject, body }, extraHeaders) => {
    const header = headers();
    header.set('Content-Type', batchContentType);
    for (const [name, value] of Object.entries(extraHeaders ?? {})) header.set(name, value);
    await client.publish(subject, body, { msgID: messageId, headers: header });
  };
}
