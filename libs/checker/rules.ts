/** The invariants as data (README, "What is guaranteed"). Each is a pure function of the facts; each has a planted violation. */
import { dishes, wallets } from '#libs/contracts/lab-data.ts';
import type { Items } from '#libs/contracts/orders.ts';
import { storedAgeMsMax } from '#libs/nats/streams.ts';
import { type Facts, type OrderFact, publishGraceMs } from './facts.ts';
import { ordersCommittedLately, ordersInFlight } from './in-flight.ts';
import { onePerKey } from './keys.ts';
import { oneTree, sameStory } from './trail.ts';
import { noneStays, oneOutcome } from './two-phase.ts';

export type Violation = { orderId: string | null; detail: string };
/** `note` says what a rule that holds could not look at. */
export type Found = { checked: number; violations: Violation[]; note?: string };
export type Rule = {
  id: string;
  title: string;
  check(facts: Facts, options: CheckOptions): Found;
};
export type CheckOptions = {
  /** Healed and quiet: everything must have come to its end. Live, only what is overdue is a violation. */
  quiet: boolean;
  /** Orders that were answered with a 2xx: they must be there. */
  accepted?: readonly string[];
};

/** Beyond its deadline an order has the whole chain of undos, with its retries, before it. */
const endGraceMs = 60_000;

export const rules: readonly Rule[] = [
  { id: 'I1', title: 'Money: what left the wallets is what standing orders cost', check: money },
  {
    id: 'I2',
    title: 'Stock: free and reserved add up, and reserved is what standing orders hold',
    check: stock,
  },
  { id: 'I3', title: 'Every ended order has all its steps done or none', check: allOrNothing },
  { id: 'I4', title: 'An order ends once, and stays there', check: oneEnd },
  { id: 'I5', title: 'Each event takes effect once per service', check: onceEach },
  { id: 'I6', title: 'What was committed is published, and nothing else', check: published },
  { id: 'I7', title: 'No undo without its barrier, no step after its undo', check: barred },
  { id: 'I8', title: '2PC: one outcome everywhere, equal to the decision log', check: oneOutcome },
  { id: 'I9', title: 'No prepared transaction outlives its limit', check: noneStays },
  { id: 'I10', title: 'One Idempotency-Key is one order and one answer', check: onePerKey },
  { id: 'I11', title: 'A 2xx answer is durable', check: durable },
  { id: 'I12', title: 'Every order comes to its end', check: ends },
  { id: 'I13', title: 'One trace and one tree of causes per order', check: oneTree },
  { id: 'I14', title: 'The stream alone tells the same story as the journals', check: sameStory },
];

/** What can be compared with other databases: ended, and not on its way to them at this moment. */
function ended(facts: Facts, options: CheckOptions): OrderFact[] {
  const inFlight = ordersInFlight(facts, options);
  return [...facts.orders.values()].filter((order) => order.ended && !inFlight.has(order.orderId));
}

function money(facts: Facts, options: CheckOptions) {
  const violations: Violation[] = [];
  const charged = new Map<string, number>();
  for (const { customerId, amount, status } of facts.payments.values()) {
    if (status === 'charged') charged.set(customerId, (charged.get(customerId) ?? 0) + amount);
  }
  const initial = new Map(wallets.map(({ customerId, balance }) => [customerId, balance]));
  for (const { customerId, balance } of facts.wallets) {
    const atFirst = initial.get(customerId);
    // What it held before its first order nobody knows of a wallet that somebody has added.
    const expected = atFirst === undefined ? balance : atFirst - (charged.get(customerId) ?? 0);
    if (balance !== expected) {
      violations.push({
        orderId: null,
        detail: `wallet ${customerId} holds ${balance}, should hold ${expected}`,
      });
    }
  }
  for (const { orderId, status, total } of ended(facts, options)) {
    const payment = facts.payments.get(orderId);
    const paid = payment?.status === 'charged' ? payment.amount : 0;
    const owed = status === 'DISPATCHED' ? total : 0;
    if (paid !== owed)
      violations.push({ orderId, detail: `${status}: paid ${paid}, should have paid ${owed}` });
  }
  return { checked: facts.wallets.length + facts.orders.size, violations };
}

function stock(facts: Facts, options: CheckOptions) {
  const violations: Violation[] = [];
  const held = new Map<string, number>();
  for (const { items, status } of facts.reservations.values()) {
    if (status !== 'reserved') continue;
    for (const { dishId, quantity } of items) held.set(dishId, (held.get(dishId) ?? 0) + quantity);
  }
  const initial = new Map(dishes.map((dish) => [dish.dishId, dish.stock]));
  for (const { dishId, free, reserved } of facts.stock) {
    const all = initial.get(dishId) ?? free + reserved;
    const wanted = held.get(dishId) ?? 0;
    if (free < 0 || free + reserved !== all || reserved !== wanted) {
      const detail = `${dishId}: free ${free} + reserved ${reserved}, should be ${all - wanted} + ${wanted}`;
      violations.push({ orderId: null, detail });
    }
  }
  for (const { orderId, status, items } of ended(facts, options)) {
    const reservation = facts.reservations.get(orderId);
    const holds = reservation?.status === 'reserved' ? sorted(reservation.items) : '';
    const should = status === 'DISPATCHED' ? sorted(items) : '';
    if (holds !== should)
      violations.push({
        orderId,
        detail: `${status}: holds ${holds || 'nothing'}, not ${should || 'nothing'}`,
      });
  }
  return { checked: facts.stock.length + facts.orders.size, violations };
}

const sorted = (items: Items) =>
  items
    .map(({ dishId, quantity }) => `${quantity} ${dishId}`)
    .sort()
    .join(', ');

function allOrNothing(facts: Facts, options: CheckOptions) {
  const orders = ended(facts, options);
  const violations = orders.flatMap(({ orderId, status }): Violation[] => {
    const steps = {
      charged: facts.payments.get(orderId)?.status === 'charged',
      reserved: facts.reservations.get(orderId)?.status === 'reserved',
      assigned: facts.assignments.get(orderId)?.status === 'assigned',
    };
    const should = status === 'DISPATCHED';
    if (Object.values(steps).every((stands) => stands === should)) return [];
    return [{ orderId, detail: `${status}, but ${JSON.stringify(steps)}` }];
  });
  return { checked: orders.length, violations };
}

function oneEnd(facts: Facts) {
  const wrong = [...facts.orders.values()].flatMap(({ orderId, status, ended: hasEnd }): Violation[] => {
    const should = status === 'DISPATCHED' || status === 'CANCELLED';
    return should === hasEnd ? [] : [{ orderId, detail: `${status} with${hasEnd ? '' : 'out'} an end` }];
  });
  return { checked: facts.orders.size, violations: [...facts.endsTwice, ...wrong] };
}

function onceEach(facts: Facts) {
  return { checked: facts.journalRows, violations: [...facts.effectsTwice, ...facts.effectsUnjournaled] };
}

function published(facts: Facts, { quiet }: CheckOptions) {
  const committed = new Set(facts.outboxAfter.map(({ messageId }) => messageId));
  const lately = ordersCommittedLately(facts, publishGraceMs);
  const violations: Violation[] = [];
  for (const { service, messageId, published: said, ageMs, orderId } of facts.outboxBefore) {
    if (said && ageMs < storedAgeMsMax && !facts.stream.has(messageId)) {
      const detail = `${service}: message ${messageId} is gone from the stream`;
      violations.push({ orderId: facts.speaksOf.get(messageId) ?? null, detail });
    } else if (!said && (quiet || (ageMs > publishGraceMs && !lately.has(orderId ?? '')))) {
      violations.push({ orderId, detail: `${service}: message ${messageId} waits since ${ageMs} ms` });
    }
  }
  for (const messageId of facts.stream) {
    if (!committed.has(messageId)) {
      const detail = `message ${messageId} was published but never committed`;
      violations.push({ orderId: facts.speaksOf.get(messageId) ?? null, detail });
    }
  }
  return { checked: facts.outboxBefore.length + facts.stream.size, violations };
}

function barred(facts: Facts) {
  return { checked: facts.journalRows, violations: facts.undoneUnbarred };
}

/** A commit on its way is durable already: in the log, and prepared in the order's database. */
function durable(facts: Facts, options: CheckOptions) {
  const { accepted = [] } = options;
  const inFlight = ordersInFlight(facts, options);
  const lost = accepted.filter((orderId) => !facts.orders.has(orderId) && !inFlight.has(orderId));
  return {
    checked: accepted.length,
    violations: lost.map((orderId) => ({ orderId, detail: 'accepted, and gone' })),
  };
}

function ends(facts: Facts, { quiet }: CheckOptions) {
  const open = [...facts.orders.values()].filter(
    (order) => !order.ended && (quiet || order.lateMs > endGraceMs),
  );
  const violations = open.map(({ orderId, status }) => ({ orderId, detail: `still ${status}` }));
  return { checked: facts.orders.size, violations };
}
