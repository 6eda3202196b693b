/** The coordinator's waits, against what they are said to be above. */
import { expect, test } from 'vitest';
import { branchLockMsMax } from '#libs/contracts/two-phase.ts';
import { logMsMax, undecidedMsMax, voteMsMax } from '#services/coordinator/bounds.ts';

test('A vote is waited for until a lock that is not to be had has been told, with a second for the answer', () => {
  expect(voteMsMax).toBeGreaterThanOrEqual(branchLockMsMax + 1_000);
});

test('Recovery leaves a transaction alone for two votes and an answer of the log, which is the 20 s of the documents', () => {
  expect(undecidedMsMax).toBeGreaterThan(voteMsMax + voteMsMax + logMsMax);
  expect(undecidedMsMax).toBe(20_000);
});
