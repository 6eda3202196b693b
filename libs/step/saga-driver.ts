/**
 * The saga's ending of a step: claim the journal entries → step → outbox rows → COMMIT → publish → ack, one
 * transaction per batch of whatever waits. A batch that throws is split until the culprit is alone, so that
 * one poison message cannot hold the others; an outage is waited out, because splitting would not help. Who
 * needs a row that another transaction holds goes aside (waiting-lanes.ts), and the others go on.
 */
import type pg from 'pg';
import type { ServiceName } from '#libs/contracts/events.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { isContention, isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { TraceBatch } from '#libs/telemetry/batch-trace.ts';
import { createBatches } from './batch.ts';
import { gather } from './gather.ts';
import type { Reach } from './hooks.ts';
import { type Claims, presumingFirst } from './journal.ts';
import { runWithoutWaiting } from './lock-watch.ts';
import type { OutboxPublisher } from './outbox-publisher.ts';
import { limitLockWaits } from './shared-rows.ts';
import { strikeStep } from './strike.ts';
import type { Intent, Verdict } from './transact.ts';
import { createWaitingLanes, heldAfterMs } from './waiting-lanes.ts';

/** 64 to 200 measure alike; bigger only makes a batch that must be split dearer. */
const batchMax = 200;
const contentionAttemptsMax = 5;
/** While a batch is split for an order's own row that is held: every part may meet it once. */
const splitLockWaitMs = 20;
/** So that the publisher and the relay keep connections of the pool. */
const lanesMaxOnMainPool = 1;
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
  /** In place of `finished`, for an injected lost acknowledgement. */
  unacknowledged?(): void;
  failed(error: unknown): void;
};

export type DriverOptions = {
  service: ServiceName;
  /** Before a batch that is not full, for listeners that nobody waits for. Default 0. */
  pauseMs?: number;
  pool: pg.Pool;
  /** A connection for each held row that is waited for at a time. Without it, one of the pool's. */
  lanePool?: pg.Pool;
  publisher: OutboxPublisher;
  injector: Injector;
  /** Undefined: faults are off. */
  reach: Reach | undefined;
  traceBatch: TraceBatch;
  now(): Date;
  newId(): string;
  /** `seconds`: how long its transaction, and so its locks, stood. */
  onBatch(verdicts: readonly Verdict[], seconds: number): void;
  onTrouble(error: unknown, what: string): void;
};

export type SagaDriver = {
  /** Takes causes in; each is settled through its own callbacks. */
  submit(items: readonly Item[]): void;
  /** Those that wait for their turn. */
  waiting(): number;
  /** Those that wait for a row that another transaction holds. */
  waitingForRows(): number;
  /** Finishes what is under way and refuses to wait out outages any longer. */
  stop(): Promise<void>;
};

export function createSagaDriver(options: DriverOptions): SagaDriver {
  const { pool, publisher, injector, reach, onTrouble } = options;
  const batches = createBatches(options);
  let stopping = false;

  const queue = gather<Item>({
    batchMax,
    keyOf: (item) => item.intent.cause.orderId,
    pauseMs: () => options.pauseMs ?? 0,
    run: (items) => settleBatch(items),
  });

  const lanes = createWaitingLanes({
    pool: options.lanePool ?? pool,
    mainPool: pool,
    lanesMax: options.lanePool?.options.max ?? lanesMaxOnMainPool,
    batchMax,
    batches,
    putBack: queue.putBack,
    onTrouble,
  });

  async function settleBatch(batch: readonly Item[], lockWaitMs?: number): Promise<void> {
    let items = lanes.divert(batch);
    for (let attempt = 1; items.length > 0; attempt++) {
      try {
        return await commitBatch(items, lockWaitMs);
      } catch (error) {
        const { free, trouble } = await makeWay(items, error);
        if (free) {
          // Nothing of the kind, twice: it is an order's own row, and splitting finds it.
          if (free.length === items.length && attempt > 1) return splitBatch(items, error, splitLockWaitMs);
          items = free;
          continue;
        }
        if (isOutage(trouble) || isLockTimeout(trouble)) {
          onTrouble(trouble, 'waiting for the database');
          for (const item of items) if (stopping || !item.patient) item.failed(trouble);
          items = items.filter((item) => item.patient);
          if (stopping) return;
        } else if (!isContention(trouble) || attempt >= contentionAttemptsMax) {
          return splitBatch(items, trouble);
        }
        await pause(attempt);
      }
    }
  }

  /** Rows that somebody holds: who needs them goes aside, the rest tries again at once. */
  async function makeWay(items: readonly Item[], error: unknown) {
    if (!isLockTimeout(error)) return { trouble: error };
    try {
      return { free: await lanes.setAside(items, error) };
    } catch (trouble) {
      return { trouble };
    }
  }

  async function splitBatch(items: readonly Item[], error: unknown, lockWaitMs?: number): Promise<void> {
    const [only] = items;
    if (items.length === 1 && only) return only.failed(error);
    const middle = items.length >> 1;
    await settleBatch(items.slice(0, middle), lockWaitMs);
    await settleBatch(items.slice(middle), lockWaitMs);
  }

  async function commitBatch(items: readonly Item[], lockWaitMs?: number): Promise<void> {
    const batch = batches.begin(items);
    const work = async (tx: Tx, claims: Claims) => {
      if (lockWaitMs) limitLockWaits(tx, lockWaitMs);
      const decided = await batches.decide(tx, batch, claims);
      publisher.markPublished(tx);
      return decided;
    };
    const run = (claims: Claims) => runWithoutWaiting(pool, heldAfterMs, (tx) => work(tx, claims));
    // A fault that may strike between the step's writes and the commit must know a repeat when it meets one.
    const mayStrike = reach !== undefined && items.some(({ intent }) => injector.armed(intent.cause));
    try {
      await batch.trace.within(async () =>
        batches.tell(batch, await (mayStrike ? run('looked-up') : presumingFirst(run))),
      );
    } catch (error) {
      batch.trace.failed(error);
      throw error;
    }
  }

  /** Injected faults are met before the batch forms, so that one order's delay holds up nobody else's. */
  async function strike(item: Item): Promise<void> {
    await strikeStep(injector, item.intent);
    queue.push([item]);
  }

  return {
    submit(items) {
      const armed = Map.groupBy(items, (item) => injector.armed(item.intent.cause));
      queue.push(armed.get(false) ?? []);
      for (const item of armed.get(true) ?? []) strike(item).catch((error) => item.failed(error));
    },
    waiting: queue.waiting,
    waitingForRows: lanes.waiting,
    async stop() {
      stopping = true;
      await lanes.stop();
      await queue.idle();
      await publisher.stop();
    },
  };
}

const pause = (attempt: number) =>
  new Promise((resolve) => setTimeout(resolve, Math.min(pauseMsMin * 2 ** (attempt - 1), pauseMsMax)));
