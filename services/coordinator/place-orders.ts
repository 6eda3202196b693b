/** Takes orders in: the same refusals at the door as the saga's, the same rules for an Idempotency-Key. */
import { randomUUIDv7 } from 'node:crypto';
import {
  type Order,
  type PlaceOrderBody,
  placeOrderBody,
  type TwoPhaseMode,
} from '#libs/contracts/orders.ts';
import { bodyHashOf, type FinishedAnswer, type HandedOver } from '#libs/contracts/placing.ts';
import { type Menu, priceOf, refuseWhatCannotBe } from '#libs/contracts/pricing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type BranchOrder, placedBefore } from '#libs/contracts/two-phase.ts';
import { writeOrderFaults } from '#libs/faults/order-faults.ts';
import { isOutage } from '#libs/postgres/errors.ts';
import { parse, toProblem } from '#libs/service/http.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import { pauseBeforeRetry } from './bounds.ts';
import type { AnswerRow, DecisionLog } from './decision-log.ts';
import type { Ended } from './transaction.ts';

const attemptsMax = 4;
/** Of these in a group: the last ones are alone, where nobody else's fault can end them. */
const groupAttemptsMax = 2;
const firstPauseMs = 40;

/** One attempt at an order: alone, or in whatever group it gets into. */
export type Submit = (order: BranchOrder, mode: TwoPhaseMode) => Promise<Ended>;

export type PlaceTools = {
  faultsOn: boolean;
  menu(): Promise<Menu>;
  log: DecisionLog;
  submit: Submit;
  /** Keeps the saga from placing an order that was refused under its key. */
  bar(orderId: string): Promise<void>;
  /** Orders under way: a second call for one waits for the first, attempts included, and finds its answer. */
  placing: Map<string, Promise<FinishedAnswer>>;
  onTrouble(error: unknown, what: string): void;
};

/** Never rejects: what goes wrong is a problem, as every other answer of the API. */
export async function placeOrder(handedOver: HandedOver, tools: PlaceTools): Promise<FinishedAnswer> {
  try {
    return await afterEarlier(tools.placing, handedOver.orderId, () => place(handedOver, tools));
  } catch (error) {
    if (!(error instanceof Problem)) tools.onTrouble(error, 'an order could not be placed');
    const away = isOutage(error) ? new Problem('service-unavailable', awayDetail) : error;
    return { problem: toProblem(away).toBody() };
  }
}

async function afterEarlier(
  placing: PlaceTools['placing'],
  orderId: string,
  work: () => Promise<FinishedAnswer>,
): Promise<FinishedAnswer> {
  const earlier = placing.get(orderId);
  const mine = earlier ? earlier.then(work, work) : work();
  placing.set(orderId, mine);
  try {
    return await mine;
  } finally {
    if (placing.get(orderId) === mine) placing.delete(orderId);
  }
}

async function place(handedOver: HandedOver, tools: PlaceTools): Promise<FinishedAnswer> {
  const { orderId, keyed } = handedOver;
  const wanted = parse(placeOrderBody, handedOver.body);
  const bodyHash = keyed ? bodyHashOf(wanted) : null;
  const before = keyed ? await tools.log.recall(orderId) : undefined;
  if (before) return recalled(before, bodyHash, tools);
  const menu = await tools.menu();
  refuseWhatCannotBe(tools.faultsOn, menu, wanted);
  const total = priceOf(menu, wanted);
  let mode = wanted.twoPhase;
  for (let attempt = 1; ; attempt++) {
    const order = branchOrderOf(handedOver, wanted, total, bodyHash, attempt);
    const ended = await tools.submit(order, mode);
    const refusal = ended.refused.get(orderId);
    if (ended.state === 'unknown') throw new Problem('service-unavailable', unknownDetail);
    if (ended.failure === undefined) {
      if (refusal === undefined) return { finished: finishedOrder(order, ended), replayed: false };
      if (refusal === placedBefore) return recalled(await recallPlaced(orderId, tools), bodyHash, tools);
      if (keyed) await tools.bar(orderId);
      // Another coordinator may have committed it under the same key meanwhile: what stands is what is told.
      const stands = keyed ? await tools.log.recall(orderId) : undefined;
      if (stands?.outcome === 'done') return recalled(stands, bodyHash, tools);
      throw refusedProblem(orderId, refusal);
    }
    const { retry, detail } = ended.failure;
    // What failed may be one order's fault, which is no answer for the others; and a key may be of an order that
    // is there already, which no group may hold. Alone, each is told what becomes of it.
    const isParted = mode === 'grouped' && (keyed || !retry || attempt >= groupAttemptsMax);
    if (!(retry || isParted) || attempt >= attemptsMax) throw new Problem('transaction-aborted', detail);
    if (isParted) mode = 'single';
    await pauseBeforeRetry(attempt, firstPauseMs);
  }
}

/** Before the first attempt: the log is asked for a key, the order service for the menu. */
const awayDetail = 'the decision log or the menu cannot be reached; nothing has happened';
const unknownDetail = 'the decision log cannot be reached; whether this took effect is unknown';

/** It stands: that the log is away just now must not be told as if nothing had happened. */
function recallPlaced(orderId: string, { log }: PlaceTools): Promise<AnswerRow | undefined> {
  return log.recall(orderId).catch((cause) => {
    throw new Problem('service-unavailable', unknownDetail, { cause });
  });
}

/** Unknown to the log, but placed: by the saga, under the same key, and so with another body. */
async function recalled(
  before: AnswerRow | undefined,
  asked: string | null,
  { bar }: PlaceTools,
): Promise<FinishedAnswer> {
  if (before?.bodyHash !== asked) throw new Problem('idempotency-key-reused');
  const { outcome, reason, answer } = before;
  if (outcome === 'done') return { finished: answer, replayed: true };
  // Again: whoever refused it may have died before it was barred.
  await bar(answer.orderId);
  throw refusedProblem(answer.orderId, reason ?? '');
}

const refusedProblem = (orderId: string, reason: string): Problem =>
  new Problem('order-refused-by-participant', reason, { instance: `/api/orders/${orderId}` });

function branchOrderOf(
  { orderId, traceparent }: HandedOver,
  { customerId, city, items, faults }: PlaceOrderBody,
  total: number,
  bodyHash: string | null,
  attempt: number,
): BranchOrder {
  const carried = writeOrderFaults(faults);
  return {
    orderId,
    commandId: randomUUIDv7(),
    attempt,
    traceparent,
    customerId,
    city,
    items,
    total,
    ...(carried ? { faults: carried } : {}),
    bodyHash,
    createdAt: new Date().toISOString(),
  };
}

/** The order as it stands when its transaction is committed; as it would stand, when it is refused. */
export function finishedOrder(order: BranchOrder, { refused, at }: Ended): Order {
  const { orderId, customerId, city, items, total, createdAt, traceparent } = order;
  const reason = refused.get(orderId) ?? null;
  return {
    orderId,
    status: reason === null ? 'DISPATCHED' : 'CANCELLED',
    protocol: '2pc',
    customerId,
    city,
    items,
    total,
    reason,
    traceId: traceIdOf(traceparent),
    createdAt,
    endedAt: at,
  };
}
