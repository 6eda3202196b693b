/**
 * Orders on their way into transactions. Alone, at most so many at once: each stands prepared in four servers,
 * whose max_prepared_transactions is the bound. In groups: while one group is under way the next one gathers,
 * and there is no linger timer.
 */
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type BranchOrder, branchOrdersMax, placedBefore } from '#libs/contracts/two-phase.ts';
import type { AnswerRow } from './decision-log.ts';
import type { Submit } from './place-orders.ts';
import { type Ended, runTransaction, type TransactionTools } from './transaction.ts';

const waitingMax = 5_000;
/** Groups under way at once. Rows of one group are mostly rows of the next: more only wait for each other. */
const groupsMax = 2;
/** What waits for another lane looks again so often. */
const busyPauseMs = 20;

type Waiting = { order: BranchOrder; resolve(ended: Ended): void; reject(error: unknown): void };

export function createQueues(options: {
  tools: TransactionTools;
  transactionsMax: number;
  answerOf(order: BranchOrder, transactionId: string, ended: Ended): AnswerRow;
}): { submit: Submit } {
  const { tools, transactionsMax, answerOf } = options;

  const run = async (waiting: readonly Waiting[], mode: TwoPhaseMode) => {
    const orders = waiting.map(({ order }) => order);
    const answersFor = (transactionId: string, ended: Ended) =>
      orders
        // What is there already has its answer, from whoever placed it.
        .filter(({ orderId }) => ended.refused.get(orderId) !== placedBefore)
        .map((order) => answerOf(order, transactionId, ended));
    try {
      const ended = await runTransaction(orders, mode, { ...tools, answersFor });
      for (const { resolve } of waiting) resolve(ended);
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  };

  const busy = new Set<string>();
  const alone: Slots = { free: transactionsMax };
  const lanes = {
    single: createLane(alone, 1, busy, (waiting) => run(waiting, 'single')),
    unordered: createLane(alone, 1, busy, (waiting) => run(waiting, 'unordered')),
    grouped: createLane({ free: groupsMax }, branchOrdersMax, busy, (waiting) => run(waiting, 'grouped')),
  };

  return {
    submit: (order, mode) =>
      new Promise((resolve, reject) => {
        if (!lanes[mode].push({ order, resolve, reject }))
          reject(new Problem('service-unavailable', 'too many orders are waiting'));
      }),
  };
}

type Lane = { push(waiting: Waiting): boolean };
/** How many more transactions may begin; lanes may share them. */
type Slots = { free: number };

/**
 * Runs batches of what waits, so many at once. An order that is `busy`, in whichever lane, waits for its other
 * call to end: two transactions of one order would wait for each other's journal entries, across databases.
 */
function createLane(
  slots: Slots,
  batchMax: number,
  busy: Set<string>,
  run: (batch: Waiting[]) => Promise<void>,
): Lane {
  let queue: Waiting[] = [];
  let turning = false;
  let lookingAgain = false;

  const next = () => {
    turning = false;
    while (queue.length > 0 && slots.free > 0) {
      const { batch, left } = takeBatch();
      queue = left;
      if (batch.length === 0) break;
      slots.free -= 1;
      void run(batch).finally(() => {
        for (const { order } of batch) busy.delete(order.orderId);
        slots.free += 1;
        turn();
      });
    }
    // Every slot is taken, perhaps by the other lane, or what waits is busy: look again.
    if (queue.length === 0 || lookingAgain) return;
    lookingAgain = true;
    setTimeout(() => {
      lookingAgain = false;
      turn();
    }, busyPauseMs);
  };

  const takeBatch = () => {
    const batch: Waiting[] = [];
    const left: Waiting[] = [];
    for (const waiting of queue) {
      const { orderId } = waiting.order;
      const free = batch.length < batchMax && !busy.has(orderId);
      (free ? batch : left).push(waiting);
      if (free) busy.add(orderId);
    }
    return { batch, left };
  };

  /** At least a macrotask, so that what arrived in this turn of the event loop joins the batch. */
  const turn = () => {
    if (!turning) setImmediate(next);
    turning = true;
  };

  return {
    /** False: too much is waiting. */
    push(waiting) {
      if (queue.length >= waitingMax) return false;
      queue.push(waiting);
      turn();
      return true;
    },
  };
}
