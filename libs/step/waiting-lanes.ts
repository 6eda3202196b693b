/**
 * Where items wait for a row that somebody else holds, such as a prepared transaction in doubt, so that all
 * others go on. A lane stands for one held row, on a connection of its own. It waits inside PostgreSQL for
 * that row and holds nothing meanwhile, neither rows nor messages of others; once it has the row it takes what
 * has gathered, in the same transaction. When it gets its row without waiting, everything is as it was: the
 * lane is closed, and what it has left goes back to the front of the main queue. Waiting is no attempt.
 */
import type pg from 'pg';
import { isContention, isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import { openTransaction, runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import type { Batch, Batches } from './batch.ts';
import { createHeldItems, type Held, type Lane } from './held-items.ts';
import { createTurns } from './lane-turns.ts';
import type { Item } from './saga-driver.ts';
import { findHeld, heldAmong, limitLockWaits, lockRow, rowsOf } from './shared-rows.ts';

/** A row that is not to be had for so long counts as held: the main lane waits no longer than about twice that. */
export const heldAfterMs = 100;
/** One wait inside PostgreSQL; after it the lane asks again. */
const laneWaitMs = 5_000;
/** For an order's own rows: short, because people may wait for it, and what waits has been taken already. */
const ownWaitMs = 1_000;
/** The last lane goes round among the held rows that have no lane of their own; alone it may stay longer. */
const turnWaitMs = 20;
const lastLaneWaitMs = 500;
/** Having the row faster than this is not waiting: PostgreSQL's answer, and a busy event loop. */
const atOnceMs = 20;
const troublePauseMs = 250;
const contentionAttemptsMax = 5;

export type WaitingLanes = {
  /** Takes aside what is known to have to wait; gives back the rest. Costs nothing while nothing is held. */
  divert(items: readonly Item[]): readonly Item[];
  /**
   * For a batch that ran into a lock timeout: looks for the rows that are held and takes aside who needs them.
   * Gives back the rest: all of them when it is no shared row. Rejects when more than single rows is locked.
   */
  setAside(items: readonly Item[], error: unknown): Promise<readonly Item[]>;
  waiting(): number;
  stop(): Promise<void>;
};

export function createWaitingLanes(options: {
  pool: pg.Pool;
  /** The main lane's: for a quick look, and to end the waits at stop. */
  mainPool: pg.Pool;
  lanesMax: number;
  batchMax: number;
  batches: Batches;
  putBack(items: readonly Item[]): void;
  onTrouble(error: unknown, what: string): void;
}): WaitingLanes {
  const { pool, mainPool, lanesMax, batchMax, batches, onTrouble } = options;
  const held = createHeldItems(batchMax);
  const turns = createTurns(lanesMax, takeTurn);
  const waitingPids = new Set<number>();
  let stopping = false;

  function park(item: Item, key: Pick<Lane, 'name' | 'row'>, error: unknown): void {
    if (stopping) item.failed(error);
    else held.add(item, laneFor(key, error));
  }

  function laneFor(key: Pick<Lane, 'name' | 'row'>, error: unknown): Lane {
    const found = held.lanes.get(key.name);
    if (found) return found;
    const lane = held.open(key, error);
    turns.ask(lane);
    return lane;
  }

  async function takeTurn(lane: Lane): Promise<void> {
    const free = await pass(lane, waitMsFor(lane));
    if (stopping) held.fail(lane.queue, lane.error);
    else if (free) options.putBack(held.close(lane));
    else turns.ask(lane);
  }

  /** The last lane never waits long, because more rows may be held than there are lanes. */
  function waitMsFor(lane: Lane): number {
    const room = turns.room();
    if (room === 'ample') return lane.row ? laneWaitMs : ownWaitMs;
    return room === 'last' ? lastLaneWaitMs : turnWaitMs;
  }

  /** One transaction, or the attempt. True when the row was there without waiting and all went well. */
  async function pass(lane: Lane, waitMs: number): Promise<boolean> {
    const begun: { batch?: Batch; taken: Held[] } = { taken: [] };
    try {
      return await runPass(lane, waitMs, begun);
    } catch (error) {
      begun.batch?.trace.failed(error);
      await recover(lane, begun.taken, error, waitMs);
      return false;
    }
  }

  async function runPass(lane: Lane, waitMs: number, begun: { batch?: Batch; taken: Held[] }) {
    const transaction = await openTransaction(pool);
    const { tx, pid } = transaction;
    waitingPids.add(pid);
    try {
      const askedAt = performance.now();
      limitLockWaits(tx, waitMs);
      if (lane.row) await lockRow(tx, lane.row);
      const atOnce = performance.now() - askedAt < atOnceMs;
      if (stopping) return false;
      begun.taken = held.take(lane);
      if (lane.row) limitLockWaits(tx, heldAfterMs);
      if (lane.looksAround) begun.taken = await leaveOthers(tx, lane, begun.taken);
      if (begun.taken.length === 0) return atOnce;
      const batch = batches.begin(begun.taken.map(({ item }) => item));
      begun.batch = batch;
      const decided = await batch.trace.within(() => batches.decide(tx, batch));
      await transaction.commit();
      held.release(begun.taken);
      begun.taken = [];
      Object.assign(lane, { takeMax: batchMax, attempt: 0, looksAround: false });
      await batch.trace.within(() => batches.tell(batch, decided));
      return atOnce || lane.row === null;
    } finally {
      waitingPids.delete(pid);
      await transaction.rollback();
    }
  }

  /** Who needs a second row that is held waits for that one: a lane does not wait with a row in hand. */
  async function leaveOthers(tx: Tx, lane: Lane, taken: readonly Held[]): Promise<Held[]> {
    const others = taken.flatMap(({ item }) => rowsOf(item.intent)).filter(({ name }) => name !== lane.name);
    if (others.length === 0) return [...taken];
    const names = await heldAmong(tx, others);
    return taken.filter((one) => {
      const row = rowsOf(one.item.intent).find(({ name }) => name !== lane.name && names.has(name));
      if (row) held.move(one, laneFor({ name: row.name, row }, lane.error));
      return !row;
    });
  }

  async function recover(lane: Lane, taken: readonly Held[], error: unknown, waitMs: number): Promise<void> {
    const [first] = taken;
    const only = taken.length === 1 ? first : undefined;
    if (stopping) return held.putBack(lane, taken);
    if (isLockTimeout(error)) {
      lane.error = error;
      if (!first || !lane.row) {
        held.putBack(lane, taken);
        if (waitMs === laneWaitMs)
          onTrouble(error, `${lane.queue.length} wait for ${lane.name}, which another transaction holds`);
      } else if (!lane.looksAround) {
        held.putBack(lane, taken);
        lane.looksAround = true;
      } else if (only) {
        // All its shared rows were there, so it is the order's own journal entry that somebody holds.
        held.move(only, laneFor(ownLane(only.item), error));
      } else {
        halve(lane, taken);
      }
    } else if (isOutage(error) || !first) {
      // Without items in hand it can be nobody's fault either.
      held.putBack(lane, taken);
      onTrouble(error, 'waiting for the database');
      held.fail(
        lane.queue.filter(({ item }) => !item.patient),
        error,
      );
      await pause(troublePauseMs);
    } else if (isContention(error) && lane.attempt < contentionAttemptsMax) {
      held.putBack(lane, taken);
      lane.attempt += 1;
      await pause(troublePauseMs / contentionAttemptsMax);
    } else if (only) {
      held.fail([only], error);
      lane.takeMax = batchMax;
    } else {
      halve(lane, taken);
    }
  }

  /** Until the culprit is alone. */
  function halve(lane: Lane, taken: readonly Held[]): void {
    held.putBack(lane, taken);
    lane.takeMax = Math.ceil(taken.length / 2);
  }

  function failAll(): void {
    for (const lane of held.lanes.values()) held.fail(lane.queue, lane.error);
  }

  return {
    divert(items) {
      if (held.lanes.size === 0) return items;
      return items.filter((item) => {
        const lane = held.laneOf(item);
        if (lane) park(item, lane, lane.error);
        return !lane;
      });
    },

    async setAside(items, error) {
      const intents = items.map(({ intent }) => intent);
      const names = await runThenCommit(mainPool, (tx) => findHeld(tx, intents, heldAfterMs));
      if (names.size === 0 && items.length === 1) {
        for (const item of items) park(item, ownLane(item), error);
        return [];
      }
      return items.filter((item) => {
        const row = rowsOf(item.intent).find(({ name }) => names.has(name));
        if (row) park(item, { name: row.name, row }, error);
        return !row;
      });
    },

    waiting: held.size,

    async stop() {
      stopping = true;
      failAll();
      // Repeated, because a cancellation that comes just before its wait is lost.
      await turns.stop(() =>
        mainPool
          .query('select pg_cancel_backend(pid) from unnest($1::int[]) as waits (pid)', [[...waitingPids]])
          .catch((error: Error) => onTrouble(error, 'the waits end by their own timeout')),
      );
      failAll();
    },
  };
}

const ownLane = (item: Item) => ({ name: `order/${item.intent.cause.orderId}`, row: null });

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
