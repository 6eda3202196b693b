import { expect, test } from 'vitest';
import { createFresh } from '#libs/service/fresh.ts';

const freshMs = 20;
const outdated = () => new Promise((resolve) => setTimeout(resolve, freshMs * 2));

/** Says how often it was read, and fails where the list has an error. */
const reading = (answers: readonly ('up' | 'away')[]) => {
  let reads = 0;
  return createFresh(freshMs, async () => {
    reads += 1;
    if (answers[reads - 1] !== 'up') throw new Error('away');
    return reads;
  });
};

test('What was never read is read again by whoever asks next, however often that has failed', async () => {
  const fresh = reading(['away', 'away', 'away', 'up']);
  for (const _ of [1, 2, 3]) await expect(fresh()).rejects.toThrow('away');
  expect(await fresh()).toBe(4);
});

test('What was read stands while it is fresh, and while who has it is away', async () => {
  const fresh = reading(['up', 'away', 'away', 'up']);
  expect([await fresh(), await fresh()]).toEqual([1, 1]);
  await outdated();
  expect([await fresh(), await fresh()]).toEqual([1, 1]);
  await outdated();
  expect(await fresh()).toBe(1);
  await outdated();
  expect(await fresh()).toBe(4);
});

test('Who asks at once reads once', async () => {
  const fresh = reading(['up']);
  expect(await Promise.all([fresh(), fresh(), fresh()])).toEqual([1, 1, 1]);
});
