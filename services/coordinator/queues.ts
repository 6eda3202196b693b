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
/** Only orders whose other call is under way wait: they look again so often. */
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
  const lanes = {
    single: createLane(transactionsMax, 1, busy, (waiting) => run(waiting, 'single')),
    unordered: createLane(transactionsMax, 1, busy, (waiting) => run(waiting, 'unordered')),
    grouped: createLane(groupsMax, branchOrdersMax, busy, (waiting) => run(waiting, 'grouped')),
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

/**
 * Runs batches of what waits, so many at once. An order that is `busy`, in whichever lane, waits for its other
 * call to end: two transactions of one order would wait for each other's journal entries, across databases.
 */
function createLane(
  runningMax: number,
  batchMax: number,
  busy: Set<string>,
  run: (batch: Waiting[]) => Promise<void>,
): Lane {
  let queue: Waiting[] = [];
  let running = 0;
  let turning = false;

  const next = () => {
    turning = false;
    while (queue.length > 0 && running < runningMax) {
      const { batch, left } = takeBatch();
      queue = left;
      if (batch.length === 0) return void setTimeout(turn, busyPauseMs);
      running += 1;
      void run(batch).finally(() => {
        for (const { order } of batch) busy.delete(order.orderId);
        running -= 1;
        turn();
      });
    }
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
