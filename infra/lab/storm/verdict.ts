/** What must be so once everything is healed: every order at its end, no invariant violated, no answer taken back. */
import type { Invariants } from '#libs/checker/check.ts';
import { endStatuses, type Order, type OrderStatus } from '#libs/contracts/orders.ts';
import { type LabApi, labApi, RequestRefused } from '../api.ts';
import type { Lab } from '../lab.ts';
import type { OpenLoad, Placed } from './load.ts';

export type Verdict = {
  /** Empty: the storm was weathered. One line each. */
  violations: string[];
  /** What became of the orders, as they stand at last; refused by two-phase commit, there is none. */
  ends: { dispatched: number; cancelled: number; refused: number };
  invariants: Invariants | null;
  quietAfterMs: number;
};

const quietMsMax = 120_000;
const lookEveryMs = 1_000;
const violationsPerRuleMax = 5;
/** Asked again, at the end, whether the same key still is the same order. */
const askedAgainMax = 60;

export async function judge(lab: Lab, load: OpenLoad, quietWithinMs = quietMsMax): Promise<Verdict> {
  const api = labApi(lab.home);
  const startedAt = performance.now();
  const invariants = await untilQuiet(api, quietWithinMs);
  const quietAfterMs = performance.now() - startedAt;
  const ends = { dispatched: 0, cancelled: 0, refused: 0 };
  const violations = [
    ...(invariants === null ? ['the invariants could not be checked'] : violationsOf(invariants)),
    ...unanswered(load.orders),
    ...(await lost(api, load.orders, ends)),
    ...(await changed(load)),
  ];
  return { violations, ends, invariants, quietAfterMs };
}

/** The last look, whether all is quiet by then or not. */
async function untilQuiet(api: LabApi, quietWithinMs: number): Promise<Invariants | null> {
  const deadline = performance.now() + quietWithinMs;
  for (;;) {
    const found = await api
      .request<Invariants>('GET', '/api/invariants?quiet=true')
      .then(({ body }) => body)
      .catch(() => null);
    if (found?.holds || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

const violationsOf = ({ rules }: Invariants): string[] =>
  rules.flatMap(({ id, violations }) =>
    violations
      .slice(0, violationsPerRuleMax)
      .map(({ orderId, detail }) => `${id}: ${orderId === null ? '' : `${orderId}: `}${detail}`),
  );

const unanswered = (orders: readonly Placed[]): string[] =>
  orders
    .filter(({ answer }) => answer === null)
    .map(({ orderId, tries }) => `${orderId}: no answer in ${tries} tries`);

/** I11: whoever was told 2xx has an order, and by now it has ended. */
async function lost(api: LabApi, orders: readonly Placed[], ends: Verdict['ends']): Promise<string[]> {
  const found: string[] = [];
  for (const { orderId, answer } of orders) {
    if (answer === null) continue;
    if (answer.status >= 300) {
      ends.refused += 1;
      continue;
    }
    const now = await statusOf(api, orderId);
    if (now === 'DISPATCHED') ends.dispatched += 1;
    else if (now === 'CANCELLED') ends.cancelled += 1;
    if (now === null) found.push(`I11: ${orderId}: answered ${answer.status}, and gone`);
    else if (!endStatuses.includes(now)) found.push(`I12: ${orderId}: still ${now}`);
    else if (
      answer.orderStatus !== null &&
      endStatuses.includes(answer.orderStatus) &&
      answer.orderStatus !== now
    ) {
      found.push(`I4: ${orderId}: answered ${answer.orderStatus}, and is ${now}`);
    }
  }
  return found;
}

async function statusOf(api: LabApi, orderId: string): Promise<OrderStatus | null> {
  try {
    return (await api.request<Order>('GET', `/api/orders/${orderId}`)).body.status;
  } catch (error) {
    if (error instanceof RequestRefused && error.problem.status === 404) return null;
    throw error;
  }
}

/** I10: the same key is the same order and the same kind of answer, whichever gateway is asked. */
async function changed(load: OpenLoad): Promise<string[]> {
  const answered = load.orders.filter(({ answer }) => answer !== null);
  const step = Math.max(1, Math.floor(answered.length / askedAgainMax));
  const found: string[] = [];
  for (let index = 0; index < answered.length; index += step) {
    const placed = answered[index] as Placed;
    const again = await load.ask(placed, index);
    const isSame = again !== null && again.status < 300 === (placed.answer?.status ?? 0) < 300;
    if (!isSame || again.code !== placed.answer?.code) {
      found.push(`I10: ${placed.orderId}: answered ${said(placed.answer)}, and then ${said(again)}`);
    }
  }
  return found;
}

const said = (answer: Placed['answer']): string =>
  answer === null ? 'nothing' : `${answer.status}${answer.code === null ? '' : ` ${answer.code}`}`;
