/** What must be so while a part of a lab of replicas is down, and afterwards. */
import { expect } from 'vitest';
import { runningLab } from '#lab/home.ts';
import type { Invariants } from '#libs/checker/check.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { endOf, eventuallyAll, get, system } from './api.ts';
import { eventually } from './eventually.ts';
import { violated } from './invariants.ts';
import { metric } from './service.ts';
import { isEnd, type SteadyLoad } from './steady-load.ts';
import { audit } from './two-phase.ts';

/** Of each protocol, sent after the kill and ended before the part is back. */
const endedEnough = 10;
const endedWithinMs = 45_000;
const inDoubtMsMax = 5_000;
const healedWithinMs = 30_000;

export const pidOf = (part: string): number | null =>
  runningLab(system.home).parts[part]?.process?.pid ?? null;

/** `order` and `order-2` are each other's. */
export const otherReplicaOf = (part: string): string =>
  part.endsWith('-2') ? part.slice(0, -'-2'.length) : `${part}-2`;

/** Transactions that a service or a coordinator has done, by its own count; null where nobody counts. */
export async function workOf(part: string): Promise<number | null> {
  if (part.startsWith('gateway')) return null;
  const pattern = part.startsWith('coordinator') ? /^two_phase_transactions_total/ : /^saga_steps_total/;
  return metric(part, pattern);
}

/** Waits until orders of both protocols that were sent after that moment have ended. */
export async function ordersEnd(load: SteadyLoad, since: number): Promise<void> {
  await eventually(
    'orders end with the part down',
    () => {
      const ended = load.endedSince(since);
      if (ended.saga >= endedEnough && ended['2pc'] >= endedEnough) return true;
      throw new Error(JSON.stringify(ended));
    },
    endedWithinMs,
  );
}

/** Nothing that was placed before that moment is left lying by what came then. */
export async function earlierEnd(load: SteadyLoad, before: number): Promise<void> {
  const earlier = load.orders.filter(({ sentAt }) => sentAt < before);
  await eventually(
    'orders that were placed before are answered',
    () => earlier.every(({ answer }) => answer !== null),
    endedWithinMs,
  );
  // Answered before they had ended; the answer is what the next look goes by.
  await eventuallyAll(earlier, async ({ orderId, answer }) => {
    if (answer && !isEnd(answer)) answer.order = await endOf(orderId, endedWithinMs);
  });
}

/** While orders go on coming in: no invariant is violated, and nothing stands in doubt for long. */
export async function expectHealth(): Promise<void> {
  await eventually(
    'nothing stands in doubt for long',
    async () => {
      const found = await Promise.all(
        participantNames.map((name) =>
          audit<{ gid: string }>(
            name,
            `select gid from pg_prepared_xacts where prepared < now() - $1 * interval '1 millisecond'`,
            [inDoubtMsMax],
          ),
        ),
      );
      if (found.flat().length > 0) throw new Error(JSON.stringify(found.flat()));
      return true;
    },
    healedWithinMs,
  );
  expect(violated(await get<Invariants>('/api/invariants'))).toEqual([]);
}
