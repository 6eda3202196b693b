/** The orders of a branch as intents for `transact`: their causes, their logical time, and what was refused. */
import { randomUUIDv7 } from 'node:crypto';
import { dishIdsOf } from '#libs/contracts/orders.ts';
import { type BranchOrder, type PerformAnswer, placedBefore } from '#libs/contracts/two-phase.ts';
import type { Cause, Reaction } from './reaction.ts';
import type { Intent, Verdict } from './transact.ts';

/** `place` says how many steps of the order came before this one: its logical time. */
export function intentOf(reaction: Reaction, order: BranchOrder, place: number): Intent {
  const { customerId, city, items, total, traceparent, faults, bodyHash, attempt } = order;
  const createdAt = new Date(order.createdAt);
  const stamped = { traceparent, faults, bodyHash, createdAt, deadline: createdAt };
  // Its deadline is the moment it was made: it has ended before anybody else can see it.
  const data = { protocol: '2pc', customerId, city, items, total, ...stamped };
  return { reaction, cause: causeOf(order, data, place), attempt };
}

export const undoIntentOf = (reaction: Reaction, order: BranchOrder, reason: string): Intent => ({
  reaction,
  cause: causeOf(order, { reason }, 1),
  attempt: order.attempt,
});

/** The first step is caused by the coordinator's command, the ones after it by what came before them here. */
function causeOf(order: BranchOrder, data: unknown, lamport: number): Cause {
  const { orderId, customerId, items, traceparent, faults, commandId } = order;
  const dishIds = dishIdsOf(items);
  const id = lamport === 0 ? commandId : randomUUIDv7();
  return { id, orderId, customerId, dishIds, data, lamport, traceparent, faults };
}

export function refusalOf({ intent, standing, outcome }: Verdict): PerformAnswer['refusals'] {
  const { orderId } = intent.cause;
  if (standing === 'repeat') return [{ orderId, reason: placedBefore }];
  return outcome?.outcome === 'refused' ? [{ orderId, reason: outcome.reason }] : [];
}
