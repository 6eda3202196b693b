/** Looks for a schedule that breaks a rule, seed by seed; one that is found is shrunk, and told as a timeline. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { serviceNames } from '#libs/contracts/events.ts';
import type { Mutant } from './mutant.ts';
import type { Broken } from './mutants.ts';
import { type Run, run, type Stores } from './run.ts';
import { type Schedule, schedule } from './schedule.ts';
import { createDatabase, openStore } from './store.ts';
import { definitions } from './world.ts';

export type Lane = { stores: Stores; end(): Promise<void> };

/** Databases of its own: one run at a time. */
export async function openLane(adminUrl: string): Promise<Lane> {
  const suffix = randomUUID().slice(0, 8);
  const entries = serviceNames.map(async (service) => {
    const database = `${service}_${suffix}`;
    await createDatabase(adminUrl, definitions[service], database);
    return [service, await openStore(adminUrl, database)] as const;
  });
  const stores = Object.fromEntries(await Promise.all(entries)) as Stores;
  return {
    stores,
    async end() {
      await Promise.all(Object.values(stores).map((store) => store.end()));
    },
  };
}

export type Found = { seed: number; schedule: Schedule; run: Run; shrinks: number };

/** Drawn without fast-check's bias for small values: every seed is worth the same. */
export const scheduleOf = (seed: number): Schedule =>
  fc.sample(schedule, { seed, numRuns: 1, unbiased: true })[0] as Schedule;

const shrinkRunsMax = 120;

/**
 * The same seed, the same schedule, the same run. `isFailure` says what counts; by default any violation.
 */
export async function explore(
  { stores }: Pick<Lane, 'stores'>,
  seed: number,
  options: { mutant?: Mutant; onRun?(run: Run): void; isFailure?(run: Run): boolean } = {},
): Promise<Found | undefined> {
  const { mutant, onRun, isFailure = ({ violations }) => violations.length > 0 } = options;
  let last: { schedule: Schedule; run: Run } | undefined;
  let runs = 0;
  const fails = async (drawn: Schedule): Promise<boolean> => {
    runs += 1;
    const one = await run(stores, drawn, mutant);
    onRun?.(one);
    if (isFailure(one)) last = { schedule: drawn, run: one };
    return last?.schedule === drawn;
  };

  let trouble: unknown;
  const property = fc.asyncProperty(schedule, async (drawn) => {
    // Enough of shrinking: nothing smaller counts as a failure any more.
    if (trouble || runs > shrinkRunsMax) return true;
    // A simulation that breaks down has found nothing, and must not look as if there were nothing to find.
    return !(await fails(drawn).catch((error) => {
      trouble = error;
      return false;
    }));
  });
  await fc.check(property, { seed, numRuns: 1, unbiased: true });
  if (trouble) throw trouble;
  if (last) await takeOutOneByOne(last.schedule, fails);
  return last && { seed, ...last, shrinks: runs - 1 };
}

/** fast-check halves lists from their front; what it leaves is tried here. */
async function takeOutOneByOne(failing: Schedule, fails: (one: Schedule) => Promise<boolean>): Promise<void> {
  for (const candidate of smallerThan(failing)) {
    if (await fails(candidate)) return takeOutOneByOne(candidate, fails);
  }
}

function* smallerThan(schedule: Schedule): Generator<Schedule> {
  const { stories, decisions } = schedule;
  if (stories.length > 1)
    for (const index of stories.keys()) yield { ...schedule, stories: stories.toSpliced(index, 1) };
  for (const index of decisions.keys()) yield { ...schedule, decisions: decisions.toSpliced(index, 1) };
}

/** How many seeds it took; nothing within the bound is a failure of the search. */
export async function search(lane: Lane, seeds: readonly number[], broken: Broken): Promise<Found> {
  const { mutant, caughtBy } = broken;
  const isFailure = ({ violations }: Run) => violations.some(({ rule }) => rule === caughtBy);
  for (const seed of seeds) {
    const found = await explore(lane, seed, { mutant, isFailure });
    if (found) return found;
  }
  throw new Error(`${broken.name}: not caught by ${caughtBy} within ${seeds.length} seeds`);
}

/** The schedule is for a regression test: shrunk, it is no seed's own any more. */
export const tell = ({ seed, run: { story }, schedule, shrinks }: Found): string =>
  [
    `seed ${seed}, shrunk in ${shrinks} runs to ${schedule.decisions.length} decisions:`,
    ...story.lines,
    JSON.stringify(schedule),
  ].join('\n');
