/**
 * Every fault point, once: where a fault can be put, what may be done there, what that shows and where to look
 * for it. From this table come what is accepted (`faultFlaw`), docs/faults.md, the list of `GET /api/faults` and
 * the shell's completion. That its steps are those of the flow is checked in test/choreography.test.ts.
 */
import { type FaultAction, faultPointsOf } from './families.ts';
import type { Fault } from './fault.ts';

export type { FaultAction } from './families.ts';

export type PointKind = 'step' | 'undo' | 'saga' | 'branch' | 'coordinator' | 'http';

export type FaultPoint = {
  kind: PointKind;
  /** The first one is what a person most likely means. */
  actions: readonly FaultAction[];
  /** What the first action shows. */
  shows: string;
  /** Where it is seen: timeline, trace, metrics. */
  look: string;
};

export type StepRow = {
  at: string;
  isUndo?: true;
  /** A business "no", which only a forward step whose refusal somebody hears of can say. */
  canRefuse?: true;
  /** Set off by HTTP or a timer and not by a message, so there is nothing to acknowledge. */
  byRequest?: true;
  /** It says nothing on the bus. */
  isSilent?: true;
  shows: string;
  look: string;
};

const stuck = 'an undo that fails is retried, never dropped';
const retried = '`attempt` above 1; `saga_retries_total`, and `saga_stuck_undos_total` after the eighth';
const listener = 'a listener that fails holds nobody up';
const late = 'the order ends in time, the notification comes later';

/** Steps and undos, under either protocol. */
export const steps: readonly StepRow[] = [
  {
    at: 'order.place',
    canRefuse: true,
    byRequest: true,
    shows: 'the order is not taken; nothing has happened',
    look: 'a 422 `order-refused`; there is no order and no story',
  },
  {
    at: 'payment.charge',
    canRefuse: true,
    shows: 'payment.failed, and the order is cancelled with nothing to undo',
    look: '`payment.charge refused`, then `order.cancel`',
  },
  {
    at: 'inventory.reserve',
    canRefuse: true,
    shows: 'inventory.failed, and the wallet is refunded',
    look: '`inventory.reserve refused`, then `payment.refund`, `order.cancel`',
  },
  {
    at: 'order.confirm',
    canRefuse: true,
    shows: 'nobody goes on; the deadline cancels the order and all is undone',
    look: '`order.request-cancellation` when the deadline has passed, and an undo of every participant',
  },
  {
    at: 'logistics.assign',
    canRefuse: true,
    shows: 'logistics.failed; stock is released, then the wallet refunded',
    look: '`logistics.assign refused`, then `inventory.release`, `payment.refund`, `order.cancel`',
  },
  {
    at: 'order.dispatch',
    canRefuse: true,
    shows: 'a courier without a parcel; the deadline takes everything back',
    look: '`order.request-cancellation` when the deadline has passed, and an undo of every participant',
  },
  {
    at: 'order.request-cancellation',
    byRequest: true,
    shows: 'the chain of undos starts late',
    look: 'the status stays as it was until the watchdog, or the customer, has asked again',
  },
  { at: 'logistics.unassign', isUndo: true, shows: stuck, look: retried },
  { at: 'inventory.release', isUndo: true, shows: stuck, look: retried },
  { at: 'payment.refund', isUndo: true, shows: stuck, look: retried },
  {
    at: 'order.cancel',
    isUndo: true,
    shows: 'all is undone, but the order hears of it late',
    look: 'wallet and stock are as before while the status is CANCELLING',
  },
  { at: 'notification.notify-confirmed', isSilent: true, shows: listener, look: late },
  { at: 'notification.notify-dispatched', isSilent: true, shows: listener, look: late },
  { at: 'notification.notify-cancelled', isSilent: true, shows: listener, look: late },
];

export const faultPoints: Readonly<Record<string, FaultPoint>> = faultPointsOf(steps);

/** At the steps and undos themselves. */
export const stepPoints: Readonly<Record<string, FaultPoint>> = Object.fromEntries(
  Object.entries(faultPoints).filter(([, { kind }]) => kind === 'step' || kind === 'undo'),
);

/** Why this cannot be done there, or null. */
export function faultFlaw(fault: { at: string; do: FaultAction }): string | null {
  const point = Object.hasOwn(faultPoints, fault.at) ? faultPoints[fault.at] : undefined;
  if (!point) return `no fault point is called ${fault.at}; GET /api/faults lists them`;
  if (point.actions.includes(fault.do)) return null;
  return `${fault.at} cannot ${fault.do}, only ${point.actions.join(' or ')}`;
}

/** Of a fault that is set from outside. */
export function setFlaw(fault: Pick<Fault, 'at' | 'do' | 'scope'>): string | null {
  const { orderId, customerId, dishId } = fault.scope;
  const isOfOrders = [orderId, customerId, dishId].some((part) => part !== undefined);
  if (isOfOrders && isHttp(fault.at)) {
    return `${fault.at} is met before a request is read: its scope can be a share, its end hits or a time`;
  }
  return faultFlaw(fault);
}

/** Of a fault that an order carries. */
export function carriedFlaw(fault: { at: string; do: FaultAction }): string | null {
  if (isHttp(fault.at)) {
    return `${fault.at} is met before an order is read, so none can carry it; set it with PUT /api/faults`;
  }
  return faultFlaw(fault);
}

const isHttp = (at: string): boolean => Object.hasOwn(faultPoints, at) && faultPoints[at]?.kind === 'http';
