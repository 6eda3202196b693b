import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createAftermath } from '#services/coordinator/aftermath.ts';

const soonMs = 30;
const longMs = 5_000;

test('Waits for all that is to be done, and for what comes out of it', async () => {
  const aftermath = createAftermath(() => {});
  const done: string[] = [];
  const work = async (name: string, then?: () => void) => {
    await delay(soonMs);
    then?.();
    done.push(name);
  };
  aftermath.add(work('one'), 'one');
  aftermath.add(
    work('two', () => aftermath.add(work('three'), 'three')),
    'two',
  );
  await aftermath.settled(longMs);
  expect(done).toEqual(['one', 'two', 'three']);
});

test('Does not wait where there is nothing to do, nor longer than it may', async () => {
  const aftermath = createAftermath(() => {});
  await aftermath.settled(longMs);
  const { promise, resolve } = Promise.withResolvers<void>();
  aftermath.add(promise, 'what never ends');
  const since = performance.now();
  await aftermath.settled(soonMs);
  expect(performance.now() - since).toBeLessThan(longMs / 2);
  resolve();
});

test('Tells what fails, and does not fail with it', async () => {
  const told: unknown[] = [];
  const aftermath = createAftermath((error, what) => told.push([what, String(error)]));
  aftermath.add(Promise.reject(new Error('no')), 'an end is noted again by recovery');
  await aftermath.settled(longMs);
  expect(told).toEqual([['an end is noted again by recovery', 'Error: no']]);
});
