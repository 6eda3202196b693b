/** What the other rules must leave out of a live check while a two-phase commit is under way, and why that is sound. */
import type { ParticipantName } from '#libs/contracts/two-phase.ts';
import type { Facts } from './facts.ts';
import type { CheckOptions } from './rules.ts';

/**
 * Orders that no rule may compare across databases, because COMMIT PREPARED reaches these one by one: the
 * snapshot of the order's database may show such an order DISPATCHED, and the snapshot of another, although
 * taken later, not yet its payment. The saga has no such gap: there the order is the last to end.
 *
 * Why leaving them out hides nothing:
 * - A branch's row is written in the branch's own transaction, so in every snapshot it says exactly whether
 *   the branch's effects are in that snapshot. Only orders with a row missing somewhere are left out.
 * - They are left out only when the log says commit, nobody aborted the branch that is missing, and the
 *   commit was not due when the snapshots were taken. Of every other difference I8 makes a violation, and
 *   what stays different becomes due within `inDoubtMsMax`.
 * - In a quiet check nothing is left out.
 *
 * Sums need no exception: wallets and payments, stock and reservations, business rows and journal stand in
 * one database each, and one branch changes both sides of each sum in one transaction.
 */
export function ordersInFlight({ twoPhase }: Facts, { quiet }: CheckOptions): ReadonlySet<string> {
  const { log, branches } = twoPhase;
  const found = new Set<string>();
  if (quiet || typeof log === 'string') return found;
  for (const { transactionId, decision, due, participants, orderIds } of log.transactions.values()) {
    if (decision !== 'commit' || due) continue;
    const absent = participants.filter(
      (name) => !branches[name as ParticipantName]?.committed.has(transactionId),
    );
    const aborted = absent.some((name) => branches[name as ParticipantName]?.odd.has(transactionId));
    if (absent.length > 0 && !aborted) for (const orderId of orderIds) found.add(orderId);
  }
  return found;
}

/**
 * Orders whose commit the log has not called ended, or not for long. What a branch says on the bus was
 * written when it prepared, and could be published only after the commit: its age says nothing.
 */
export function ordersCommittedLately({ twoPhase }: Facts, withinMs: number): ReadonlySet<string> {
  const found = new Set<string>();
  if (typeof twoPhase.log === 'string') return found;
  for (const { decision, endedAgeMs, orderIds } of twoPhase.log.transactions.values()) {
    const lately = endedAgeMs === null || endedAgeMs < withinMs;
    if (decision === 'commit' && lately) for (const orderId of orderIds) found.add(orderId);
  }
  return found;
}
