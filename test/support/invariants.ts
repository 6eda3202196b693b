/** The checker at the end of a journey: everything is at its end, and every invariant holds. */
import { expect } from 'vitest';
import type { Invariants } from '#libs/checker/check.ts';
import { call, get } from './api.ts';
import { eventually } from './eventually.ts';
import { violated } from './invariants-found.ts';

export { violated };

export const invariants = () => get<Invariants>('/api/invariants?quiet=true');

/** A message that a killed process had in hand comes again only after the broker's ack wait (10 s). */
const quietWithinMs = 75_000;

/** To be called after the last test of a file: waits for quiet, and then nothing may be violated. */
export async function expectInvariants(): Promise<void> {
  const last = { found: undefined as Invariants | undefined };
  await eventually(
    'the invariants hold',
    async () => {
      last.found = await invariants();
      return last.found.holds;
    },
    quietWithinMs,
  ).catch(() => undefined); // The assertion below says more than "not in time".
  expect(last.found && violated(last.found)).toEqual([]);
  expect(last.found?.rules.map(({ id }) => id)).toEqual(
    expect.arrayContaining([
      'I1',
      'I2',
      'I3',
      'I4',
      'I5',
      'I6',
      'I7',
      'I8',
      'I9',
      'I10',
      'I11',
      'I12',
      'I13',
      'I14',
    ]),
  );
  expect((await call('DELETE', '/api/faults')).status).toBe(204);
}
