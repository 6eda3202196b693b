/**
 * The saga's ending of a step: claim the journal entries → step → outbox rows → COMMIT → publish → ack, one
 * transaction per batch of whatever waits. A batch that throws is split until the culprit is alone, so that
 * one poison message cannot hold the others; an outage is waited out, because splitting would not help.
 */
import type pg from 'pg';
import type { ServiceName } from '#libs/contracts/events.ts';
import { InjectedError, type Injector } from '#libs/faults/injector.ts';
import { isContention, isOutage } from '#libs/postgres/errors.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import type { BatchTrace, TraceBatch } from '#libs/telemetry/batch-trace.ts';
import { gather } from './gather.ts';
import type { Reach } from './hooks.ts';
import type { OutboxPublisher } from './outbox-publisher.ts';
import { type Intent, transact, type Verdict } from './transact.ts';

/** 64 to 200 measure alike; bigger only makes a batch that must be split dearer. */
const batchMax = 200;
const contentionAttemptsMax = 5;
const pauseMsMin = 50;
const pauseMsMax = 2_000;

/** One cause on its way through the driver. */
export type Item = {
  intent: Intent;
  /** Whether it waits out an outage (a message) or is told at once (a person who waits for an answer). */
  patient: boolean;
  /** The transaction is committed: this is decided, whatever happens next. */
  committed?(verdict: Verdict): void;
  /** Its events are on their way to the broker. */
  finished?(): void;
  failed(error: unknown): void;
};

export type DriverOptions = {
  service: ServiceName;
  /** See `gather`. */
  pauseMs?: number;
  pool: pg.Pool;
  publisher: OutboxPublisher;
  injector: Injector;
  reach: Reach;
  traceBatch: TraceBatch;
  now(): Date;
  newId(): string;
  onBatch(verdicts: readonly Verdict[]): void;
  onTrouble(error: unknown, what: string): void;
};

export type SagaDriver = {
  /** Takes causes in; each is settled through its own callbacks. */
  submit(items: readonly Item[]): void;
  waiting(): number;
  /** Finishes what is under way and refuses to wait out outages any longer. */
  stop(): Promise<void>;
};

export function createSagaDriver(options: DriverOptions): SagaDriver {
  const { service, pool, publisher, injector, reach, traceBatch, onBatch, onTrouble } = options;
  let stopping = false;

  const queue = gather<Item>({
    batchMax,
    keyOf: (item) => item.intent.cause.orderId,
    pauseMs: options.pauseMs ?? 0,
    run: settleBatch,
  });

  async function settleBatch(items: readonly Item[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await commitBatch(items);
      } catch (error) {
        if (isOutage(error)) {
          onTrouble(error, 'waiting for the database');
          for (const item of items) if (stopping || !item.patient) item.failed(error);
          items = items.filter((item) => item.patient);
          if (stopping || items.length === 0) return;
        } else if (!isContention(error) || attempt >= contentionAttemptsMax) {
          return splitBatch(items, error);
        }
        await pause(attempt);
      }
    }
  }

  async function splitBatch(items: readonly Item[], error: unknown): Promise<void> {
    const [only] = items;
    if (items.length === 1 && only) return only.failed(error);
    const middle = items.length >> 1;
    await settleBatch(items.slice(0, middle));
    await settleBatch(items.slice(middle));
  }

  async function commitBatch(items: readonly Item[]): Promise<void> {
    const intents = items.map((item) => item.intent);
    const trace = traceBatch(service, intents);
    try {
      await trace.within(() => runBatch(items, intents, trace));
    } catch (error) {
      trace.failed(error);
      throw error;
    }
  }

  async function runBatch(items: readonly Item[], intents: readonly Intent[], trace: BatchTrace) {
    const tools = { service, now: options.now, newId: options.newId, traceparentFor: trace.traceparentFor };
    const { verdicts, messages } = await runThenCommit(pool, async (tx) => {
      publisher.markPublished(tx);
      const decided = await transact(tx, intents, tools);
      if (reach) await reach('before-commit', intents);
      return decided;
    });
    if (reach) await reach('after-commit-before-publish', intents);
    trace.committed(verdicts);
    onBatch(verdicts);
    items.forEach((item, index) => {
      const verdict = verdicts[index];
      if (verdict) item.committed?.(verdict);
    });
    // Not awaited: the next batch runs its transaction while the broker syncs this one's messages. The acks
    // follow the messages on the same connection, in the same write. If both are lost, the journal knows the
    // repeat; if only the messages are, the relay has them.
    const published = publisher.publish(messages);
    if (reach) await reach('after-publish-before-ack', intents);
    for (const item of items) item.finished?.();
    void published.then(trace.published);
  }

  /** Injected faults are met before the batch forms, so that one order's delay holds up nobody else's. */
  async function strike(item: Item): Promise<void> {
    const { reaction, cause, attempt } = item.intent;
    const point = pointOf(item.intent);
    const strike = await injector.strike(point, cause, attempt);
    if (strike?.do === 'refuse' && reaction.direction === 'do')
      item.intent.refusal = `injected refusal at ${point}`;
    if (strike?.do === 'error') item.intent.sabotage = new InjectedError(point);
    if (strike?.do === 'delay') setTimeout(() => queue.push([item]), strike.ms);
    else queue.push([item]);
  }

  return {
    submit(items) {
      const armed = Map.groupBy(items, (item) => injector.armed(item.intent.cause));
      queue.push(armed.get(false) ?? []);
      for (const item of armed.get(true) ?? []) strike(item).catch((error) => item.failed(error));
    },
    waiting: queue.waiting,
    async stop() {
      stopping = true;
      await queue.idle();
      await publisher.stop();
    },
  };
}

/** The fault point of an intent: the step's name, or its undo's. */
export function pointOf({ reaction }: Pick<Intent, 'reaction'>): string {
  return reaction.direction === 'do' ? reaction.step.name : (reaction.step.undoName ?? reaction.step.name);
}

const pause = (attempt: number) =>
  new Promise((resolve) => setTimeout(resolve, Math.min(pauseMsMin * 2 ** (attempt - 1), pauseMsMax)));
