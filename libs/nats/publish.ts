/**
 * Publishes to JetStream on an inbox of its own, pipelined: one subscription takes all acknowledgements. The
 * client's `js.publish` makes a request per message, with an error object and its stack trace prepared in
 * advance; this costs a seventh of it (docs/decisions/0006). The message id is the outbox row's, so
 * that the broker recognises a repeat.
 */
import { createInbox, headers, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { batchContentType } from '#libs/contracts/events.ts';
import { inboxPrefix } from './address.ts';

/** Names the message that this one repeats under an id of its own. */
export const copyHeader = 'Saga-Copy-Of';

const publishTimeoutMs = 5_000;
const sweepMs = 500;

export type Message = { messageId: string; subject: string; body: string };
/** Resolves when the broker has stored the message, and rejects when that is refused or unknown. */
export type Publish = (message: Message, extraHeaders?: Record<string, string>) => Promise<void>;

type Pending = { subject: string; lateAt: number; resolve: () => void; reject: (error: Error) => void };

export function createPublisher(connection: NatsConnection): Publish {
  const inbox = createInbox(inboxPrefix(connection));
  const pending = new Map<string, Pending>();
  let next = 0;

  const settle = (error: Error | null, message: Msg) => {
    const token = message.subject.slice(inbox.length + 1);
    const waiting = pending.get(token);
    if (!waiting) return;
    pending.delete(token);
    const refusal = error?.message ?? refusalOf(message);
    if (refusal) waiting.reject(new Error(`${waiting.subject} was not stored: ${refusal}`));
    else waiting.resolve();
  };
  connection.subscribe(`${inbox}.*`, { callback: settle });

  // One timer for all: acknowledgements come in order, so the oldest is the first to be late.
  const sweep = setInterval(() => {
    const now = performance.now();
    for (const [token, { subject, lateAt, reject }] of pending) {
      if (lateAt > now) break;
      pending.delete(token);
      reject(new Error(`${subject} was not acknowledged within ${publishTimeoutMs} ms`));
    }
  }, sweepMs);
  sweep.unref();

  return ({ messageId, subject, body }, extraHeaders) => {
    const header = headers();
    header.set('Nats-Msg-Id', messageId);
    header.set('Content-Type', batchContentType);
    for (const [name, value] of Object.entries(extraHeaders ?? {})) header.set(name, value);
    const token = (next++).toString(36);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    pending.set(token, { subject, lateAt: performance.now() + publishTimeoutMs, resolve, reject });
    try {
      connection.publish(subject, body, { reply: `${inbox}.${token}`, headers: header });
    } catch (error) {
      // Too large, or the connection is closed for good: nobody will answer.
      pending.delete(token);
      reject(error as Error);
    }
    return promise;
  };
}

function refusalOf(message: Msg): string | null {
  if (message.headers?.code === 503) return 'no stream takes this subject';
  const ack = message.json<{ error?: { description?: string } }>();
  return ack.error ? (ack.error.description ?? 'the broker refused it') : null;
}
