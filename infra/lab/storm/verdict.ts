/** What must be so once everything is healed: every order at its end, no invariant violated, no answer taken back. */
import type { Invariants } from '#libs/checker/check.ts';
import { endStatuses, type Order, type OrderStatus } from '#libs/contracts/orders.ts';
import { type LabApi, labApi, RequestRefused } from '../api.ts';
import type { Lab } from '../lab.ts';
import type { Answer, OpenLoad, Placed } from './load.ts';
import { stubbornly, tried } from './tried.ts';

export type Verdict = {
  /** Empty: the storm was weathered. One line each. */
  violations: string[];
  /** What became of the orders, as they stand at last; refused by two-phase commit, there is none. */
  ends: { dispatched: number; cancelled: number; refused: number };
  invariants: Invariants | null;
  quietAfterMs: number;
};

export const emptyVerdict = (): Verdict => ({
  violations: [],
  ends: { dispatched: 0, cancelled: 0, refused: 0 },
  invariants: null,
  quietAfterMs: 0,
});

const quietMsMax = 120_000;
const lookEveryMs = 1_000;
/** One of thousands of requests may go wrong on a busy machine: that is asked again, and is no finding. */
const answerWithinMs = 30_000;
const violationsPerRuleMax = 5;
/** Asked again, at the end, whether the same key still is the same order: all, or so many evenly spread. */
const askedAgainMax = 100;

/** Adds what it finds to the verdict; that something could not be looked at is a violation, too. */
export async function judge(
  lab: Lab,
  load: OpenLoad,
  verdict: Verdict,
  quietWithinMs = quietMsMax,
): Promise<void> {
  const { violations } = verdict;
  const api = labApi(lab.home);
  const startedAt = performance.now();
  const look = () => untilQuiet(api, quietWithinMs);
  verdict.invariants = await tried(violations, 'the invariants could not be checked', look);
  verdict.quietAfterMs = performance.now() - startedAt;
  if (verdict.invariants !== null) violations.push(...violationsOf(verdict.invariants));
  violations.push(...unanswered(load.orders));
  await tried(violations, 'the orders could not be read', () => findLost(api, load.orders, verdict));
  await tried(violations, 'keys could not be sent again', () => findChanged(load, violations));
}

/** The last look, whether all is quiet by then or not. */
async function untilQuiet(api: LabApi, quietWithinMs: number): Promise<Invariants> {
  const deadline = performance.now() + quietWithinMs;
  for (;;) {
    const path = '/api/invariants?quiet=true';
    const [found] = await Promise.allSettled([api.request<Invariants>('GET', path)]);
    const isLast = performance.now() > deadline;
    if (found.status === 'rejected' && isLast) throw found.reason;
    if (found.status === 'fulfilled' && (found.value.body.holds || isLast)) return found.value.body;
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

async function findLost(api: LabApi, orders: readonly Placed[], verdict: Verdict): Promise<void> {
  const { violations, ends } = verdict;
  for (const { orderId, answer } of orders) {
    if (answer === null) continue;
    const now = await stubbornly(() => statusOf(api, orderId), answerWithinMs);
    if (answer.status >= 300) ends.refused += 1;
    else if (now === 'DISPATCHED') ends.dispatched += 1;
    else if (now === 'CANCELLED') ends.cancelled += 1;
    const flaw = flawOf(answer, now);
    if (flaw !== null) violations.push(`${flaw.rule}: ${orderId}: ${flaw.detail}`);
  }
}

/** Who was told 2xx has an order (I11), ended by now (I12), as he was told (I4); of who was refused none stands (I10). */
function flawOf(answer: Answer, now: OrderStatus | null): { rule: string; detail: string } | null {
  const { status, orderStatus } = answer;
  if (status >= 300) {
    const stands = now !== null && now !== 'CANCELLED';
    return stands ? { rule: 'I10', detail: `answered ${said(answer)}, and is ${now}` } : null;
  }
  if (now === null) return { rule: 'I11', detail: `answered ${status}, and gone` };
  if (!endStatuses.includes(now)) return { rule: 'I12', detail: `still ${now}` };
  const wasEnded = orderStatus !== null && endStatuses.includes(orderStatus);
  return wasEnded && orderStatus !== now
    ? { rule: 'I4', detail: `answered ${orderStatus}, and is ${now}` }
    : null;
}

async function statusOf(api: LabApi, orderId: string): Promise<OrderStatus | null> {
  try {
    return (await api.request<Order>('GET', `/api/orders/${orderId}`)).body.status;
  } catch (error) {
    if (error instanceof RequestRefused && error.problem.status === 404) return null;
    throw error;
  }
}

/** I10: the same key is the same order, or the same refusal, whichever gateway is asked. */
async function findChanged(load: OpenLoad, violations: string[]): Promise<void> {
  const answered = load.orders.filter(({ answer }) => answer !== null);
  const step = Math.max(1, Math.ceil(answered.length / askedAgainMax));
  for (let index = 0; index < answered.length; index += step) {
    const placed = answered[index] as Placed;
    const again = said(await stubbornly(() => answerTo(load, placed, index), answerWithinMs));
    const before = said(placed.answer as Answer);
    if (again !== before) violations.push(`I10: ${placed.orderId}: answered ${before}, and then ${again}`);
  }
}

async function answerTo(load: OpenLoad, placed: Placed, gateway: number): Promise<Answer> {
  const answer = await load.ask(placed, gateway);
  if (answer === null) throw new Error(`${placed.orderId}: no answer`);
  return answer;
}

/** What must stay the same: not the 2xx, which tells whether the order has ended by then. */
const said = ({ status, code, orderId }: Answer): string =>
  status < 300 ? `2xx for order ${orderId}` : `${status} ${code}`;
