/**
 * Publishes outbox rows right after COMMIT and remembers which ones the broker has stored. Once they are some,
 * they are marked in a batch's transaction, which costs no commit of its own; or else after a moment. What could
 * not be published stays unmarked: the relay finds it. With tracing on a row is marked only when its spans are
 * sent as well: of an unmarked row the relay tells the spans again (docs/decisions/0019).
 */
import { context, ROOT_CONTEXT } from '@opentelemetry/api';
import type pg from 'pg';
import { copyHeader, type Publish } from '#libs/nats/publish.ts';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import { markPublished, type OutboxMessage, type Stored } from './outbox.ts';

/** Shorter than the relay's patience, so that a quiet service's rows are not published twice. */
const quietMs = 300;
/** After the spans are sent: every moment until the mark is one in which a crash has them told twice. */
const quietMsOnceSent = 20;
const marksMax = 1_000;
/** So many are marked by one statement: for one message it costs as much as for sixteen. */
const marksMin = 16;
/** What an outage of the broker may add up to; the oldest are forgotten, and perhaps told twice. */
const oursMax = 20_000;

export type OutboxPublisher = {
  /**
   * Never rejects: a message that could not be published is left to the relay. `published` is called when the
   * broker has answered for all of them, before any is marked.
   */
  publish(messages: readonly OutboxMessage[], published?: () => void): Promise<void>;
  /** Marks, in this transaction, what has been published since the last one. */
  markPublished(tx: Tx): void;
  /**
   * Leaves what is not marked yet to the relay: whether a broker that went away still has it is for the broker to
   * say when it gets it again.
   */
  distrust(): void;
  /** How often it was so. */
  losses(): number;
  /** Whether this process has the message in hand: its spans are its own to tell. */
  isOurs(messageId: string): boolean;
  stop(): Promise<void>;
};

export function createOutboxPublisher(options: {
  pool: pg.Pool;
  publish: Publish;
  now(): Date;
  onTrouble(error: unknown, what: string): void;
  /** Resolves when all spans that have ended are sent. Absent: nothing is traced. */
  spansSent?: (() => Promise<void>) | undefined;
}): OutboxPublisher {
  const { pool, publish, now, onTrouble, spansSent } = options;
  let stored: Stored[] = [];
  let distrusts = 0;
  /** Traced messages, from their publication to their mark. */
  const ours = new Set<string>();
  let quiet: NodeJS.Timeout | undefined;
  const inFlight = new Set<Promise<void>>();

  const publishOne = async (message: OutboxMessage): Promise<Stored[]> => {
    try {
      const sequence = await publish(message, message.copyOf ? { [copyHeader]: message.copyOf } : undefined);
      const place = { messageId: message.messageId, sequence, storedAt: now() };
      if (!spansSent) noteStored([place], quietMs);
      return [place];
    } catch (error) {
      onTrouble(error, `message ${message.messageId} is left to the relay`);
      return [];
    }
  };

  const noteStored = (places: readonly Stored[], flushMs: number) => {
    stored.push(...places);
    // Outside of any order's trace: these messages are of many.
    quiet ??= context.with(ROOT_CONTEXT, () => setTimeout(() => void flush(), flushMs));
  };

  const publishAll = async (messages: readonly OutboxMessage[], published?: () => void) => {
    const before = distrusts;
    if (spansSent) for (const { messageId } of messages) keepOurs(messageId);
    const places = (await Promise.all(messages.map(publishOne))).flat();
    published?.();
    if (!spansSent || places.length === 0) return;
    await spansSent();
    // The broker went away meanwhile: the relay finds them unmarked.
    if (before === distrusts) noteStored(places, quietMsOnceSent);
  };

  const keepOurs = (messageId: string) => {
    const [oldest] = ours;
    if (ours.size >= oursMax && oldest !== undefined) ours.delete(oldest);
    ours.add(messageId);
  };

  const takeStored = () => {
    const places = stored.slice(0, marksMax);
    stored = stored.slice(places.length);
    for (const { messageId } of places) ours.delete(messageId);
    return places;
  };

  const flush = async () => {
    quiet = undefined;
    const places = takeStored();
    if (places.length === 0) return;
    const before = distrusts;
    const mark = async (tx: Tx) => {
      await markPublished(tx, places);
      assertNoLoss(before, distrusts);
    };
    await runThenCommit(pool, mark).catch((error) => {
      // Harmless: the relay publishes them once more, and every consumer's journal knows them.
      onTrouble(error, `${places.length} published messages stay unmarked`);
    });
  };

  return {
    async publish(messages, published) {
      const publishing = publishAll(messages, published);
      inFlight.add(publishing);
      await publishing;
      inFlight.delete(publishing);
    },
    markPublished(tx) {
      if (stored.length < (spansSent ? 1 : marksMin)) return;
      clearTimeout(quiet);
      quiet = undefined;
      const places = takeStored();
      const marking = markPublished(tx, places);
      tx.write(marking);
      const before = distrusts;
      // The batch has failed before: they are marked with another one.
      marking.catch(() => before === distrusts && noteStored(places, quietMs));
    },
    distrust() {
      stored = [];
      distrusts += 1;
    },
    losses: () => distrusts,
    isOurs: (messageId) => ours.has(messageId),
    async stop() {
      await Promise.all(inFlight);
      clearTimeout(quiet);
      await flush();
    },
  };
}

/** Of losses of the broker: what was read after it went away, it may have said of what it has lost since. */
export function assertNoLoss(before: number, after: number): void {
  if (before !== after) throw new Error('the broker went away before its messages were marked');
}
