/**
 * Publishes outbox rows right after COMMIT and remembers which ones the broker has stored. They are marked
 * in the next batch's transaction, which costs no commit of its own, or after a moment of quiet. What could
 * not be published stays unmarked: the relay finds it.
 */
import { context, ROOT_CONTEXT } from '@opentelemetry/api';
import type pg from 'pg';
import type { Publish } from '#libs/nats/publish.ts';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import { markPublished, type OutboxMessage } from './outbox.ts';

/** Shorter than the relay's patience, so that a quiet service's rows are not published twice. */
const quietMs = 300;
const idsMax = 1_000;

export type OutboxPublisher = {
  /** Never rejects: a message that could not be published is left to the relay. */
  publish(messages: readonly OutboxMessage[]): Promise<void>;
  /** Marks, in this transaction, what has been published since the last one. */
  markPublished(tx: Tx): void;
  stop(): Promise<void>;
};

export function createOutboxPublisher(options: {
  pool: pg.Pool;
  publish: Publish;
  now(): Date;
  onTrouble(error: unknown, what: string): void;
}): OutboxPublisher {
  const { pool, publish, now, onTrouble } = options;
  let stored: string[] = [];
  let quiet: NodeJS.Timeout | undefined;
  const inFlight = new Set<Promise<void>>();

  const publishOne = async (message: OutboxMessage) => {
    try {
      await publish(message);
      stored.push(message.messageId);
      // Outside of any order's trace: these messages are of many.
      quiet ??= context.with(ROOT_CONTEXT, () => setTimeout(() => void flush(), quietMs));
    } catch (error) {
      onTrouble(error, `message ${message.messageId} is left to the relay`);
    }
  };

  const takeStored = () => {
    const ids = stored.slice(0, idsMax);
    stored = stored.slice(ids.length);
    return ids;
  };

  const flush = async () => {
    quiet = undefined;
    const ids = takeStored();
    if (ids.length === 0) return;
    await runThenCommit(pool, (tx) => markPublished(tx, ids, now())).catch((error) => {
      // Harmless: the relay publishes them once more, and every consumer's journal knows them.
      onTrouble(error, `${ids.length} published messages stay unmarked`);
    });
  };

  return {
    async publish(messages) {
      const publishing = Promise.all(messages.map(publishOne)).then(() => {});
      inFlight.add(publishing);
      await publishing;
      inFlight.delete(publishing);
    },
    markPublished(tx) {
      const ids = takeStored();
      if (ids.length > 0) tx.write(markPublished(tx, ids, now()));
    },
    async stop() {
      await Promise.all(inFlight);
      clearTimeout(quiet);
      await flush();
    },
  };
}
