/**
 * Each broken system is caught, by the rule that is about its damage, and its schedule shrinks to a few decisions.
 * `SIMULATION_TELL=1` tells the timelines.
 */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { explore, type Lane, openLane, scheduleOf, search, tell } from './explore.ts';
import { mutants } from './mutants.ts';
import { type Run, run } from './run.ts';

const seedsMax = 300;
const decisionsMax = 6;
const linesMax = 40;
const seeds = Array.from({ length: seedsMax }, (_, index) => index + 1);

let lane: Lane;
beforeAll(async () => {
  lane = await openLane(inject('adminUrl'));
});
afterAll(() => lane.end());

test.each(mutants)('Caught: $name', async (broken) => {
  const found = await search(lane, seeds, broken);
  const { seed, shrinks, schedule } = found;
  const short = `caught by ${broken.caughtBy} at seed ${seed}, ${schedule.decisions.length} decisions after ${shrinks} runs`;
  process.stderr.write(`${broken.name}: ${process.env.SIMULATION_TELL ? tell(found) : short}\n`);
  expect(found.schedule.stories).toHaveLength(1);
  expect(found.schedule.decisions.length).toBeLessThanOrEqual(decisionsMax);
  expect(found.run.story.lines.length).toBeLessThanOrEqual(linesMax);
  // The mutant is the cause: the same schedule does no harm to the sound system.
  expect((await run(lane.stores, found.schedule)).violations).toEqual([]);
});

test('The same seed is the same run, line by line', async () => {
  for (const seed of seeds.slice(0, 5)) {
    const first = await run(lane.stores, scheduleOf(seed));
    const again: Run[] = [];
    await explore(lane, seed, { onRun: (one) => again.push(one) });
    expect(again.map(({ story }) => story.lines)).toEqual([first.story.lines]);
  }
});
