/**
 * Orders on their way into transactions. Alone, at most so many at once: each stands prepared in four servers,
 * whose max_prepared_transactions is the bound. In groups: while one group is under way the next one gathers,
 * and there is no linger timer.
 */
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type BranchOrder, branchOrdersMax } from '#libs/contracts/two-phase.ts';
import type { AnswerRow } from './decision-log.ts';
import type { Submit } from './place-orders.ts';
import { type Ended, runTransaction, type TransactionTools } from './transaction.ts';

const waitingMax = 5_000;
/** Groups under way at once. Rows of one group are mostly rows of the next: more only wait for each other. */
const groupsMax = 2;

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
      orders.map((order) => answerOf(order, transactionId, ended));
    try {
      const ended = await runTransaction(orders, mode, { ...tools, answersFor });
      for (const { resolve } of waiting) resolve(ended);
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  };

  const lanes = {
    single: lane(transactionsMax, 1, (waiting) => run(waiting, 'single')),
    unordered: lane(transactionsMax, 1, (waiting) => run(waiting, 'unordered')),
    grouped: lane(groupsMax, branchOrdersMax, (waiting) => run(waiting, 'grouped')),
  };

  return {
    submit: (order, mode) =>
      new Promise((resolve, reject) => {
        if (!lanes[mode]({ order, resolve, reject }))
          reject(new Problem('service-unavailable', 'too many orders are waiting'));
      }),
  };
}

/** Runs batches of what waits, so many at once. False: too much is waiting. */
function lane(runningMax: number, batchMax: number, run: (batch: Waiting[]) => Promise<void>) {
  let queue: Waiting[] = [];
  let running = 0;
  let turning = false;

  const next = () => {
    turning = false;
    while (queue.length > 0 && running < runningMax) {
      const [batch, left] = takeBatch(queue, batchMax);
      queue = left;
      running += 1;
      void run(batch).finally(() => {
        running -= 1;
        turn();
      });
    }
  };
  /** At least a macrotask, so that what arrived in this turn of the event loop joins the batch. */
  const turn = () => {
    if (!turning) setImmediate(next);
    turning = true;
  };

  return (waiting: Waiting): boolean => {
    if (queue.length >= waitingMax) return false;
    queue.push(waiting);
    turn();
    return true;
  };
}

/** An order stands once in a group: a second call for it waits, and is told what became of the first. */
function takeBatch(queue: readonly Waiting[], batchMax: number): [batch: Waiting[], left: Waiting[]] {
  const taken = new Map<string, Waiting>();
  const left: Waiting[] = [];
  for (const waiting of queue) {
    const { orderId } = waiting.order;
    if (taken.size < batchMax && !taken.has(orderId)) taken.set(orderId, waiting);
    else left.push(waiting);
  }
  return [[...taken.values()], left];
}
