/**
 * Many seeds, no violation. `SIMULATION_SEEDS` says how many, `SIMULATION_FROM` where to begin, and `SIMULATION_SEED` runs
 * one and tells its timeline.
 */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { explore, type Lane, openLane, scheduleOf, tell } from './explore.ts';
import { type Run, run } from './run.ts';

const lanesMax = 3;
const from = Number(process.env.SIMULATION_FROM ?? 1);
const seedsMax = Number(process.env.SIMULATION_SEEDS ?? 100);
const only = process.env.SIMULATION_SEED;
/** For so many there is time; one run takes some 20 ms, on a busy machine ten times that. */
const exploringMs = 60_000 + seedsMax * 300;

let lanes: Lane[];
beforeAll(async () => {
  lanes = await Promise.all(Array.from({ length: lanesMax }, () => openLane(inject('adminUrl'))));
});
afterAll(() => Promise.all(lanes.map((lane) => lane.end())));

/** Each at least once in a hundred runs, or the exploration says little. */
const mustHappen = [
  ...['crash:before-commit', 'crash:after-commit-before-publish', 'crash:after-publish-before-ack'],
  ...['held', 'repeated', 'relayed', 'cancelled', 'deadline', 'looked', 'batch', 'publish-lost'],
  ...['fault:refuse', 'fault:error', 'failed', 'dead-letter', 'refused'],
  ...['standing:applied', 'standing:empty', 'standing:repeat', 'DISPATCHED', 'CANCELLED'],
];

async function exploreAll() {
  const counts = new Map<string, number>();
  const found: string[] = [];
  let next = from;
  const onRun = ({ story, ends }: Run) => {
    for (const [what, times] of story.counts) counts.set(what, (counts.get(what) ?? 0) + times);
    for (const end of ends) counts.set(end, (counts.get(end) ?? 0) + 1);
  };
  const exploring = lanes.map(async (lane) => {
    while (next < from + seedsMax && found.length === 0) {
      const broken = await explore(lane, next++, { onRun });
      if (broken) found.push(tell(broken));
    }
  });
  await Promise.all(exploring);
  return { counts, found };
}

async function runOne(seed: number): Promise<void> {
  const { stores } = lanes[0] as Lane;
  const broken = await explore({ stores }, seed);
  const { story } = broken?.run ?? (await run(stores, scheduleOf(seed)));
  process.stderr.write(`${broken ? tell(broken) : `seed ${seed}\n${story.lines.join('\n')}`}\n`);
  expect(broken).toBeUndefined();
}

if (only !== undefined) test(`Seed ${only}`, () => runOne(Number(only)));
else {
  test(`No rule is violated in ${seedsMax} interleavings`, { timeout: exploringMs }, async () => {
    const startedAt = performance.now();
    const { counts, found } = await exploreAll();
    const perSecond = (seedsMax / (performance.now() - startedAt)) * 1_000;
    const happened = [...counts].sort().map(([what, times]) => `${times} ${what}`);
    process.stderr.write(`simulation: ${perSecond.toFixed(0)} interleavings/s; ${happened.join(', ')}\n`);
    expect(found.join('\n\n')).toBe('');
    const timesMin = Math.floor(seedsMax / 100);
    expect(mustHappen.filter((what) => (counts.get(what) ?? 0) < timesMin)).toEqual([]);
  });
}
