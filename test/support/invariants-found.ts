/** What a check found, shortened for a failure's message. */
import type { Invariants } from '#libs/checker/check.ts';

/** The violated rules, with their first violations. */
export const violated = (found: Invariants) =>
  found.rules
    .filter(({ holds }) => !holds)
    .map(({ id, violations }) => ({ id, violations: violations.slice(0, 3) }));
