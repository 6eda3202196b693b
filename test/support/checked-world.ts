/** Facts made by hand, for the checker's rules as pure functions. */
import { randomUUID } from 'node:crypto';
import type { Facts, OrderFact } from '#libs/checker/facts.ts';
import { type CheckOptions, rules } from '#libs/checker/rules.ts';
import type { AnswerFact, BranchFact, TransactionFact } from '#libs/checker/two-phase-facts.ts';
import { type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';

/** One order that 2PC has dispatched, everywhere; each test spoils one thing. */
export function world() {
  const orderId = randomUUID();
  const transactionId = randomUUID();
  const items = [{ dishId: 'dish-001', quantity: 2 }];
  const customerId = 'customer-0001';
  const order: OrderFact = {
    ...{ orderId, status: 'DISPATCHED', protocol: '2pc', total: 500, items },
    ...{ customerId, city: 'pune', traceId: '0af7651916cd43dd8448eb211c80319c', createdAt: new Date(0) },
    ...{ bodyHash: null, carriesFaults: false, placed: null, ended: true, lateMs: -1, ageMs: 1_000 },
  };
  const transaction: TransactionFact = {
    ...{ transactionId, decision: 'commit', orderIds: [orderId], participants: participantNames },
    ...{ endedAgeMs: 100, decidedAgeMs: 200, due: true },
  };
  const branches = Object.fromEntries(
    participantNames.map((name) => [
      name,
      { committed: new Set([transactionId]), odd: new Map<string, BranchFact>() },
    ]),
  ) as Record<ParticipantName, { committed: Set<string>; odd: Map<string, BranchFact> }>;
  const log = {
    transactions: new Map([[transactionId, transaction]]),
    answers: [{ orderId, transactionId, outcome: 'done', bodyHash: null, answer: null } as AnswerFact],
  };
  const facts: Facts = {
    orders: new Map([[orderId, order]]),
    wallets: [],
    payments: new Map([[orderId, { orderId, customerId, amount: 500, status: 'charged' }]]),
    stock: [],
    reservations: new Map([[orderId, { orderId, items, status: 'reserved' }]]),
    assignments: new Map([[orderId, { orderId, status: 'assigned' }]]),
    ...{ journalRows: 0, endsTwice: [], effectsTwice: [], effectsUnjournaled: [], undoneUnbarred: [] },
    ...{ outboxBefore: [], stream: new Set<string>(), outboxAfter: [] },
    ...{ speaksOf: new Map<string, string>(), trail: 'made by hand' },
    twoPhase: { log, branches, prepared: [] },
  };
  /** The transaction has not reached this participant: neither its branch nor its effects are in the snapshot. */
  const without = (name: ParticipantName) => {
    branches[name].committed.clear();
    if (name === 'order') facts.orders.clear();
    if (name === 'payment') facts.payments.clear();
    if (name === 'inventory') facts.reservations.clear();
    if (name === 'logistics') facts.assignments.clear();
  };
  const underWay = () => Object.assign(transaction, { due: false, endedAgeMs: null });
  const odd = (name: ParticipantName, state: string, over: Partial<BranchFact> = {}) =>
    branches[name].odd.set(transactionId, { state, orderIds: [orderId], ageMs: 1_000, ...over });
  return { facts, order, orderId, transaction, transactionId, branches, log, without, underWay, odd };
}

export const quiet: CheckOptions = { quiet: true };
export const live: CheckOptions = { quiet: false };
export const check = (facts: Facts, options: CheckOptions) =>
  rules.flatMap(({ id, check: rule }) =>
    rule(facts, options).violations.map(({ orderId, detail }) => ({ id, orderId, detail })),
  );
export const violatedRules = (facts: Facts, options: CheckOptions) => [
  ...new Set(check(facts, options).map(({ id }) => id)),
];
/** What one rule found. */
export const of = (facts: Facts, id: string, options: CheckOptions = quiet) =>
  check(facts, options).filter((violation) => violation.id === id);
