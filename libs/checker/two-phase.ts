/** The rules of two-phase commit. */
import { type ParticipantName, participantNames, readGid } from '#libs/contracts/two-phase.ts';
import { eventAgeMsMax } from '#libs/nats/streams.ts';
import type { Facts } from './facts.ts';
import type { CheckOptions, Found, Violation } from './rules.ts';
import { type BranchFact, type DecisionLog, inDoubtMsMax, type TransactionFact } from './two-phase-facts.ts';

/** Participants and coordinator keep what has ended for longer; of what is older either may be forgotten. */
const comparedAgeMsMax = eventAgeMsMax;

/** I8: one outcome everywhere, equal to the decision log. */
export function oneOutcome(facts: Facts, options: CheckOptions): Found {
  const { log } = facts.twoPhase;
  if (typeof log === 'string') return withoutLog(facts, log);
  const placed = [...facts.orders.values()].filter(({ protocol }) => protocol === '2pc').length;
  return {
    checked: log.transactions.size + log.answers.length + placed,
    violations: [
      ...commitsNotEverywhere(facts, log, options),
      ...participantNames.flatMap((name) => commitsUndecided(facts, log, name)),
      ...answersUnkept(facts, log, options),
      ...ordersUnnamed(facts, log),
    ],
  };
}

/**
 * Without the log nobody can say what was decided. That is a violation once there is anything to decide, and
 * before that a note: a world without a coordinator is no broken one, and no checked one either.
 */
function withoutLog({ orders, twoPhase }: Facts, why: string): Found {
  const placed = [...orders.values()].filter(({ protocol }) => protocol === '2pc').length;
  const branches = participantNames.reduce((sum, name) => sum + twoPhase.branches[name].committed.size, 0);
  const prepared = twoPhase.prepared.filter(({ gid }) => readGid(gid)).length;
  if (placed + branches + prepared === 0) {
    return { checked: 0, violations: [], note: `not checked: ${why}; nothing was placed with 2PC` };
  }
  const there = `${placed} orders, ${branches} committed and ${prepared} prepared branches of 2PC`;
  return {
    checked: 0,
    violations: [{ orderId: null, detail: `${why}, so nobody can say what was decided about ${there}` }],
  };
}

function commitsNotEverywhere({ twoPhase }: Facts, log: DecisionLog, { quiet }: CheckOptions): Violation[] {
  const found: Violation[] = [];
  for (const transaction of log.transactions.values()) {
    if (transaction.decision !== 'commit' || transaction.decidedAgeMs > comparedAgeMsMax) continue;
    for (const name of transaction.participants) {
      const branches = twoPhase.branches[name as ParticipantName];
      if (branches?.committed.has(transaction.transactionId)) continue;
      const branch = branches?.odd.get(transaction.transactionId);
      // What was aborted here stays so; what is missing may still be on its way.
      const isMissing = !branch || branch.state === 'forcing';
      if (isMissing && !quiet && !transaction.due) continue;
      found.push(...about(transaction.orderIds, missing(name, transaction, branch)));
    }
  }
  return found;
}

function missing(name: string, { transactionId }: TransactionFact, branch: BranchFact | undefined): string {
  const which = `${name}'s branch of transaction ${transactionId}`;
  if (!branch) return `the log says commit, but ${which} is not committed`;
  if (branch.state === 'forcing') {
    return `the log says commit, but ${which} is not committed, and an operator was about to force its abort`;
  }
  if (branch.state === 'heuristic-abort')
    return `an operator forced the abort of ${which}, but the log says commit`;
  return `the log says commit, but ${which} is ${branch.state}`;
}

/** `odd` holds every committed branch that has no decision to commit. */
function commitsUndecided({ twoPhase }: Facts, log: DecisionLog, name: ParticipantName): Violation[] {
  const { committed, odd } = twoPhase.branches[name];
  return [...odd].flatMap(([transactionId, { state, orderIds, ageMs }]) => {
    const transaction = log.transactions.get(transactionId);
    if (!committed.has(transactionId) || transaction?.decision === 'commit') return [];
    if (ageMs > comparedAgeMsMax) return [];
    const which = `${name}'s branch of transaction ${transactionId}`;
    const did =
      state === 'heuristic-commit' ? `an operator forced the commit of ${which}` : `${which} is committed`;
    const orders = orderIds.length > 0 ? orderIds : (transaction?.orderIds ?? []);
    return about(orders, `${did}, but the log ${saidBy(transaction)}`);
  });
}

function saidBy(transaction: TransactionFact | undefined): string {
  if (!transaction) return 'does not know it, which means abort';
  return transaction.decision === null ? 'has not decided' : `says ${transaction.decision}`;
}

/** A client was told. Until a commit has reached the order's own database, the log alone keeps that promise. */
function answersUnkept({ orders }: Facts, log: DecisionLog, { quiet }: CheckOptions): Violation[] {
  return log.answers.flatMap(({ orderId, transactionId, outcome }): Violation[] => {
    const order = orders.get(orderId);
    const stands = order?.status === 'DISPATCHED' && order.protocol === '2pc';
    if (stands === (outcome === 'done')) return [];
    const transaction = log.transactions.get(transactionId);
    const underWay = transaction?.decision === 'commit' && !transaction.due;
    if (outcome === 'done' && !quiet && underWay) return [];
    const is = order ? `a ${order.status} order of ${order.protocol}` : 'not there';
    return [{ orderId, detail: `was answered as ${outcome} (transaction ${transactionId}), and is ${is}` }];
  });
}

function ordersUnnamed({ orders }: Facts, log: DecisionLog): Violation[] {
  const named = new Set<string>();
  for (const { decision, orderIds } of log.transactions.values()) {
    if (decision === 'commit') for (const orderId of orderIds) named.add(orderId);
  }
  return [...orders.values()]
    .filter(
      ({ protocol, status, ageMs }) =>
        protocol === '2pc' && status === 'DISPATCHED' && ageMs <= comparedAgeMsMax,
    )
    .filter(({ orderId }) => !named.has(orderId))
    .map(({ orderId }) => ({ orderId, detail: 'DISPATCHED by 2PC, but no committed transaction names it' }));
}

/** One per order, or one about none when nobody knows the orders. */
const about = (orderIds: readonly string[], detail: string): Violation[] =>
  orderIds.length === 0 ? [{ orderId: null, detail }] : orderIds.map((orderId) => ({ orderId, detail }));

/** I9: what stands prepared keeps its locks, and holds back vacuum. */
export function noneStays({ twoPhase }: Facts, { quiet }: CheckOptions): Found {
  const { log, prepared } = twoPhase;
  const violations = prepared.flatMap(({ service, gid, owner, ageMs }): Violation[] => {
    if (!quiet && ageMs <= inDoubtMsMax) return [];
    const stands = `has stood prepared for ${Math.round(ageMs / 1_000)} s`;
    const ours = readGid(gid);
    if (!ours) {
      return [
        { orderId: null, detail: `${service}: ${JSON.stringify(gid)} of role ${owner}, not ours, ${stands}` },
      ];
    }
    const transaction = typeof log === 'string' ? undefined : log.transactions.get(ours.transactionId);
    const [orderId = null, ...others] = transaction?.orderIds ?? [];
    const more = others.length > 0 ? `, with ${others.length} more orders` : '';
    return [{ orderId, detail: `${service}: ${gid} ${stands}${more}; the log ${saidBy(transaction)}` }];
  });
  return { checked: prepared.length, violations };
}
