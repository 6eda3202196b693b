/** One batch of items around its transaction: what runs inside, and what is told once it is committed. */
import type { DriverPoint } from '#libs/faults/families.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { BatchTrace } from '#libs/telemetry/batch-trace.ts';
import type { Struck } from './hooks.ts';
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

  /** Undefined, and no turn of the event loop passes, while no fault is aimed at this point. */
  const reached = (
    point: DriverPoint,
    verdicts: readonly Verdict[],
    first?: Promise<void>,
  ): Promise<Struck> | undefined => {
    const aimed = reach?.aimed(point, verdicts) ?? [];
    if (!reach || aimed.length === 0) return undefined;
    return first ? first.then(() => reach.strike(point, aimed)) : reach.strike(point, aimed);
  };

  return {
    begin(items) {
      const intents = items.map((item) => item.intent);
      return { items, intents, trace: traceBatch(service, intents), startedAt: performance.now() };
    },

    async decide(tx, { intents, trace }, claims) {
      const tools = { service, now, newId, traceFor: trace.traceFor };
      const decided = await transact(tx, intents, tools, claims);
      const striking = reached('before-commit', decided.verdicts);
      if (striking) note(trace, 'before-commit', await striking);
      return decided;
    },

    async tell({ items, trace, startedAt }, { verdicts, messages }) {
      const seconds = (performance.now() - startedAt) / 1_000;
      let copies: OutboxMessage[] = [];
      const unpublished = reached('after-commit-before-publish', verdicts);
      if (unpublished) {
        const struck = await unpublished;
        note(trace, 'after-commit-before-publish', struck);
        copies = copiesFor(struck, messages, newId);
      }
      trace.committed(verdicts);
      onBatch(verdicts, seconds);
      items.forEach((item, index) => {
        const verdict = verdicts[index];
        if (verdict) item.committed?.(verdict);
      });
      // Not awaited: the next batch runs its transaction while the broker syncs this one's messages. The acks
      // follow the messages on the same connection, in the same write. If both are lost, the journal knows
      // the repeat; if only the messages are, the relay has them.
      const publishing = publisher.publish(
        copies.length > 0 ? messages.concat(copies) : messages,
        trace.published,
      );
      const unacknowledged = reached('after-publish-before-ack', verdicts, publishing);
      const struck = unacknowledged && (await unacknowledged);
      for (const item of items) {
        if (struck?.get(item.intent) === 'drop-ack') item.unacknowledged?.();
        else item.finished?.();
      }
    },
  };
}

function note(trace: BatchTrace, point: DriverPoint, struck: Struck): void {
  for (const [intent, action] of struck) trace.struck(intent, `${action} ${point}`);
}

/**
 * Under ids of their own, so that the broker cannot recognise them: every listener hears these events twice, as
 * from a producer that forgot what it had sent.
 */
function copiesFor(struck: Struck, messages: readonly OutboxMessage[], newId: () => string): OutboxMessage[] {
  const orderIds = [...struck].flatMap(([{ cause }, action]) =>
    action === 'duplicate' ? cause.orderId : [],
  );
  return messages
    .filter(({ body }) => orderIds.some((orderId) => body.includes(orderId)))
    .map((message) => ({ ...message, messageId: newId(), copyOf: message.messageId }));
}
