/**
 * Every fault point, once: where a fault can be put and what may be done there. A refusal is a business
 * "no", which only a forward step can say. The step's own points serve both protocols; those of a branch and of
 * the coordinator are two-phase commit's. The saga's points between commit, publish and ack are reached in the
 * driver (`reach`), and join this table with its crash faults.
 */
import type { OrderFault } from '#libs/contracts/orders.ts';

export type FaultAction = OrderFault['do'];

const forward = ['refuse', 'error', 'delay'] as const;
const undo = ['error', 'delay'] as const;
const ending = ['crash', 'delay'] as const;

type Point = { actions: readonly FaultAction[]; shows: string };

/** Of every branch, named after the step that it runs. */
const branchPoints = ['order.place', 'payment.charge', 'inventory.reserve', 'logistics.assign'].flatMap(
  (step): [string, Point][] => [
    [`${step}.before-prepare`, { actions: ending, shows: 'a vote that never comes: all abort' }],
    [
      `${step}.after-prepare`,
      { actions: ending, shows: 'a vote that is lost: prepared here, and all abort' },
    ],
    [
      `${step}.before-commit-prepared`,
      { actions: ending, shows: 'decided, but not yet everywhere: the coordinator asks until it is' },
    ],
  ],
);

/** At the steps and undos themselves, under either protocol. */
export const stepPoints: Readonly<Record<string, Point>> = {
  'order.place': { actions: forward, shows: 'the order is not taken; nothing has happened' },
  'payment.charge': {
    actions: forward,
    shows: 'payment.failed, and the order is cancelled with nothing to undo',
  },
  'inventory.reserve': { actions: forward, shows: 'inventory.failed, and the wallet is refunded' },
  'order.confirm': {
    actions: forward,
    shows: 'nobody goes on; the deadline cancels the order and all is undone',
  },
  'logistics.assign': {
    actions: forward,
    shows: 'logistics.failed; stock is released, then the wallet refunded',
  },
  'order.dispatch': {
    actions: forward,
    shows: 'a courier without a parcel; the deadline takes everything back',
  },
  'order.request-cancellation': { actions: undo, shows: 'the chain of undos starts late' },
  'logistics.unassign': { actions: undo, shows: 'an undo that fails is retried, never dropped' },
  'inventory.release': { actions: undo, shows: 'an undo that fails is retried, never dropped' },
  'payment.refund': { actions: undo, shows: 'an undo that fails is retried, never dropped' },
  'order.cancel': { actions: undo, shows: 'all is undone, but the order hears of it late' },
  'notification.notify-confirmed': { actions: undo, shows: 'a listener that fails holds nobody up' },
  'notification.notify-dispatched': { actions: undo, shows: 'a listener that fails holds nobody up' },
  'notification.notify-cancelled': { actions: undo, shows: 'a listener that fails holds nobody up' },
};

export const faultPoints: Readonly<Record<string, Point>> = {
  ...stepPoints,
  ...Object.fromEntries(branchPoints),
  'coordinator.before-decision': {
    actions: ending,
    shows: 'all have voted, nothing is decided: every branch is in doubt and keeps its locks',
  },
  'coordinator.after-decision': {
    actions: ending,
    shows: 'the log says commit and nobody knows it yet: recovery tells them',
  },
  'coordinator.after-first-commit': {
    actions: ending,
    shows: 'committed in one database and in doubt in the others, until recovery',
  },
};

/** Why this cannot be done there, or null. */
export function faultFlaw(fault: { at: string; do: FaultAction }): string | null {
  const point = Object.hasOwn(faultPoints, fault.at) ? faultPoints[fault.at] : undefined;
  if (!point) return `no fault point is called ${fault.at}; there are ${Object.keys(faultPoints).join(', ')}`;
  if (point.actions.includes(fault.do)) return null;
  return `${fault.at} cannot ${fault.do}, only ${point.actions.join(' or ')}`;
}
