/** One batch of items around its transaction: what runs inside, and what is told once it is committed. */
import type { Tx } from '#libs/postgres/transaction.ts';
import type { BatchTrace } from '#libs/telemetry/batch-trace.ts';
import type { Claims } from './journal.ts';
import type { OutboxMessage } from './outbox.ts';
import type { DriverOptions, Item } from './saga-driver.ts';
import { type Intent, transact, type Verdict } from './transact.ts';

export type Batch = {
  items: readonly Item[];
  intents: readonly Intent[];
  trace: BatchTrace;
  /** When it began to lock rows. */
  startedAt: number;
};

export type Decided = { verdicts: Verdict[]; messages: OutboxMessage[] };

export type Batches = {
  begin(items: readonly Item[]): Batch;
  decide(tx: Tx, batch: Batch, claims?: Claims): Promise<Decided>;
  tell(batch: Batch, decided: Decided): Promise<void>;
};

/** No pool among them: whoever runs a batch brings the transaction. */
export type BatchOptions = Pick<
  DriverOptions,
  'service' | 'publisher' | 'reach' | 'now' | 'newId' | 'traceBatch' | 'onBatch'
>;

export function createBatches(options: BatchOptions): Batches {
  const { service, publisher, reach, now, newId, traceBatch, onBatch } = options;
  return {
    begin(items) {
      const intents = items.map((item) => item.intent);
      return { items, intents, trace: traceBatch(service, intents), startedAt: performance.now() };
    },

    async decide(tx, { intents, trace }, claims) {
      const tools = { service, now, newId, traceFor: trace.traceFor };
      const decided = await transact(tx, intents, tools, claims);
      if (reach) await reach('before-commit', intents);
      return decided;
    },

    async tell({ items, intents, trace, startedAt }, { verdicts, messages }) {
      const seconds = (performance.now() - startedAt) / 1_000;
      if (reach) await reach('after-commit-before-publish', intents);
      trace.committed(verdicts);
      onBatch(verdicts, seconds);
      items.forEach((item, index) => {
        const verdict = verdicts[index];
        if (verdict) item.committed?.(verdict);
      });
      // Not awaited: the next batch runs its transaction while the broker syncs this one's messages. The acks
      // follow the messages on the same connection, in the same write. If both are lost, the journal knows
      // the repeat; if only the messages are, the relay has them.
      void publisher.publish(messages, trace.published);
      if (reach) await reach('after-publish-before-ack', intents);
      for (const item of items) item.finished?.();
    },
  };
}
