/** Checks every invariant against all databases and the stream, any time. Reads only. */
import type { NatsConnection } from '@nats-io/transport-node';
import type { Facts } from './facts.ts';
import { type AuditUrls, gatherFacts } from './gather.ts';
import { type CheckOptions, rules, type Violation } from './rules.ts';

const violationsShownMax = 20;

export type RuleResult = {
  id: string;
  title: string;
  holds: boolean;
  checked: number;
  /** The first ones; `violationCount` says how many there are. */
  violations: Violation[];
  violationCount: number;
  /** What a rule that holds could not look at. */
  note?: string;
};
export type Invariants = { holds: boolean; tookMs: number; rules: RuleResult[] };

export async function checkInvariants(
  urls: AuditUrls,
  connection: NatsConnection,
  options: CheckOptions,
): Promise<Invariants> {
  const startedAt = performance.now();
  const facts = await gatherFacts(urls, connection);
  const results = rules.map(({ id, title, check }): RuleResult => {
    const { checked, violations, note } = check(facts, options);
    return {
      id,
      title,
      holds: violations.length === 0,
      checked,
      violations: inOrderOfPlacing(violations, facts).slice(0, violationsShownMax),
      violationCount: violations.length,
      ...(note === undefined ? {} : { note }),
    };
  });
  const tookMs = Math.round(performance.now() - startedAt);
  return { holds: results.every((result) => result.holds), tookMs, rules: results };
}

/** So that the first one named is the first that went wrong; those about no order, or none that is there, come last. */
function inOrderOfPlacing(violations: readonly Violation[], { orders }: Facts): Violation[] {
  const placedAt = ({ orderId }: Violation) => orders.get(orderId ?? '')?.createdAt.getTime() ?? Infinity;
  return violations.toSorted((a, b) => {
    const [before, after] = [placedAt(a), placedAt(b)];
    return before === after ? 0 : before - after;
  });
}
