/** What a storm does about what goes wrong around it: it tries again for a while, and then says so in its verdict. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from './random.ts';

const pauseMsMin = 250;
const pauseMsMax = 4_000;
/** Twice as long each time until then. */
const doublingsMax = 4;

/** Before the next try; with jitter, so that those who failed together do not come again together. */
export function pauseMs(tries: number, random: Pick<Random, 'next'>): number {
  const longest = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(tries, doublingsMax));
  return longest * (0.5 + random.next() / 2);
}

const againMs = 250;

/** Throws what the last try threw, once `withinMs` are over. */
export async function stubbornly<T>(step: () => Promise<T>, withinMs: number): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(againMs);
    }
  }
}

/** Never rejects: what the step throws is a violation like any other, and whatever comes next is done all the same. */
export async function tried<T>(
  violations: string[],
  what: string,
  step: () => T | Promise<T>,
): Promise<T | null> {
  try {
    return await step();
  } catch (error) {
    violations.push(`${what}: ${reasonOf(error)}`);
    return null;
  }
}

/** In one line: the rest is the tail of a log, which is kept. */
export const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
