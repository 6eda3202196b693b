/**
 * Publishes to JetStream on an inbox of its own, pipelined: one subscription takes all acknowledgements. The
 * client's `js.publish` makes a request per message, with an error object and its stack trace prepared in
 * advance; this costs a seventh of it (docs/decisions/0006). The message id is the outbox row's, so
 * that the broker recognises a repeat.
 */
import { createInbox, headers, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { batchContentType } from '#libs/contracts/events.ts';
import { inboxPrefix } from './address.ts';
import { eventStream } from './streams.ts';

/** Names the message that this one repeats under an id of its own. */
export const copyHeader = 'Saga-Copy-Of';

const publishTimeoutMs = 5_000;
const sweepMs = 500;

export type Message = { messageId: string; subject: string; body: string };
/** Resolves with its sequence once the broker has stored the message; rejects when that is refused or unknown. */
export type Publish = (message: Message, extraHeaders?: Record<string, string>) => Promise<number>;

export type PublisherOptions = {
  /** While it gives a promise, what is to be sent waits for that, and is refused when that is: it stays in the outbox. */
  opening?(): Promise<void> | undefined;
  /**
   * The stream of events gave a message the sequence `from`, although it had reached `upTo` before that message
   * was sent: what stood there is lost.
   */
  onReused?(from: number, upTo: number): void;
};

type Pending = {
  subject: string;
  lateAt: number;
  /** What the stream of events had reached when this was sent: this must come after it. */
  reached: number;
  resolve: (sequence: number) => void;
  reject: (error: Error) => void;
};
type Ack = { stream: string; seq: number; duplicate?: boolean; error?: { description?: string } };

export function createPublisher(connection: NatsConnection, options: PublisherOptions = {}): Publish {
  const { opening, onReused } = options;
  const inbox = createInbox(inboxPrefix(connection));
  const pending = new Map<string, Pending>();
  let next = 0;
  let reached = 0;

  const settle = (error: Error | null, message: Msg) => {
    const token = message.subject.slice(inbox.length + 1);
    const waiting = pending.get(token);
    if (!waiting) return;
    pending.delete(token);
    try {
      if (error) throw error;
      const ack = readAck(message);
      if (ack.stream === eventStream && !ack.duplicate) noteReached(ack.seq, waiting.reached);
      waiting.resolve(ack.seq);
    } catch (refusal) {
      waiting.reject(new Error(`${waiting.subject} was not stored: ${(refusal as Error).message}`));
    }
  };
  connection.subscribe(`${inbox}.*`, { callback: settle });

  const noteReached = (sequence: number, before: number) => {
    if (sequence > before) {
      reached = Math.max(reached, sequence);
      return;
    }
    // Told once: from here on the sequences go up again.
    if (before === reached) onReused?.(sequence, before);
    reached = sequence;
  };

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

  const publish: Publish = ({ messageId, subject, body }, extraHeaders) => {
    const open = opening?.();
    if (open) return open.then(() => publish({ messageId, subject, body }, extraHeaders));
    const header = headers();
    header.set('Nats-Msg-Id', messageId);
    header.set('Content-Type', batchContentType);
    for (const [name, value] of Object.entries(extraHeaders ?? {})) header.set(name, value);
    const token = (next++).toString(36);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    pending.set(token, { subject, lateAt: performance.now() + publishTimeoutMs, reached, resolve, reject });
    try {
      connection.publish(subject, body, { reply: `${inbox}.${token}`, headers: header });
    } catch (error) {
      // Too large, or the connection is closed for good: nobody will answer.
      pending.delete(token);
      reject(error as Error);
    }
    return promise;
  };
  return publish;
}

/** Throws what the broker refused with. */
function readAck(message: Msg): Ack {
  if (message.headers?.code === 503) throw new Error('no stream takes this subject');
  const ack = message.json<Ack>();
  if (ack.error) throw new Error(ack.error.description ?? 'the broker refused it');
  // To a repeat of what it has proposed to its cluster but not stored, 2.10 answers `duplicate` with sequence 0.
  // A leader that stood still says so of messages that are lost by then; later versions refuse the repeat.
  if (!ack.seq) throw new Error('the broker knows the message, and has not stored it yet');
  return ack;
}
