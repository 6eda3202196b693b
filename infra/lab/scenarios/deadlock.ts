/** Branches without a fixed order deadlock across databases, where no database can see it; with one they do not. */
import { setTimeout as delay } from 'node:timers/promises';
import type { InDoubtItem } from '#libs/contracts/two-phase.ts';
import { contenderCalled } from '../bench/contenders.ts';
import { type LoadResult, runLoad } from '../bench/load.ts';
import { LabError } from '../errors.ts';
import { readInDoubt } from '../in-doubt.ts';
import type { Ending, Stage } from './scenario.ts';
import { within } from './shop.ts';
import { cycleInWords, findCycle, type Wait, waitsFor } from './waits-for.ts';

export const summary =
  'hot rows and no fixed order of branches: a cycle through two databases, and its price';

const customers = 3;
const clientsDefault = 16;
const secondsDefault = 10;
const warmUpSeconds = 1;
const lookPauseMs = 50;
const drainedWithinMs = 30_000;

type Watched = { load: LoadResult; cycles: number };

export async function play(stage: Stage): Promise<Ending> {
  const { tell } = stage;
  const unordered = await watch(stage, '2pc-unordered');
  told(stage, 'without an order', unordered);
  await within(drainedWithinMs, async () => {
    const { items } = await readInDoubt(stage.api);
    return items.length === 0 ? true : undefined;
  });
  const single = await watch(stage, '2pc');
  told(stage, 'payment before inventory', single);
  const [before, after] = [unordered.load.ordersPerSecond, single.load.ordersPerSecond];
  const ratio = before > 0 ? after / before : null;
  tell(
    ratio === null
      ? 'Without an order not one order got through'
      : `${after.toFixed(0)} orders/s with the order of branches, ${before.toFixed(1)} without: every cycle lasts until a lock timeout of 5 s`,
  );
  return {
    claims: [
      {
        claim: 'without an order of branches a cycle through two databases was seen',
        seen: unordered.cycles > 0,
      },
      { claim: 'with payment before inventory none was seen', seen: single.cycles === 0 },
      { claim: 'with it more orders get through', seen: after > before },
    ],
    figures: { unordered, single, ratio },
  };
}

function told({ tell }: Stage, how: string, { load, cycles }: Watched): void {
  const { ordersPerSecond, latencyMs, failed } = load;
  tell(
    `${how}: ${ordersPerSecond.toFixed(1)} orders/s, p50 ${latencyMs.p50.toFixed(0)} ms, ` +
      `p99 ${latencyMs.p99.toFixed(0)} ms, ${failed} given up; cycles seen: ${cycles}`,
  );
}

/** Load, and beside it a look at what is in doubt, again and again. */
async function watch(stage: Stage, name: string): Promise<Watched> {
  const { tell, url } = stage;
  const contender = contenderCalled(name);
  if (contender === undefined) throw new Error(`${name} is no contender`);
  const clients = stage.options.clients ?? clientsDefault;
  const seconds = stage.options.seconds ?? secondsDefault;
  tell(
    `${clients} clients, ${customers} customers, one dish, branches ${contender.body.twoPhase}, ${seconds} s …`,
  );
  const quiet = { onMeasuring: async () => {}, onMeasured: async () => {} };
  const sizes = { clients, seconds, warmUpSeconds, customers };
  const over = new AbortController();
  const looking = lookForCycles(stage, over.signal);
  try {
    const options = { urls: [url], contender, refusals: 0, hot: true, until: 'ended' as const };
    const load = await runLoad({ ...options, ...sizes, ...quiet });
    over.abort();
    return { load, cycles: await looking };
  } finally {
    over.abort();
    await looking;
  }
}

/**
 * Counts the cycles that were there. The databases are asked one after another, so what one look puts together
 * may never have stood at one moment; what two looks in a row show, with every wait grown longer, did.
 */
async function lookForCycles(stage: Stage, over: AbortSignal): Promise<number> {
  const confirmed = new Set<string>();
  let before: Wait[] | undefined;
  while (!over.aborted) {
    const items = await look(stage);
    const cycle = findCycle(waitsFor(items));
    if (cycle && before && isSameLater(before, cycle) && !confirmed.has(nameOf(cycle))) {
      confirmed.add(nameOf(cycle));
      if (confirmed.size === 1) {
        stage.tell('A cycle that no database can see, because each of them sees only a wait:');
        stage.show(cycleInWords(cycle, items));
      }
    }
    before = cycle;
    await delay(lookPauseMs);
  }
  return confirmed.size;
}

/** A look that fails under load is no look: the next one comes soon. */
async function look({ api }: Stage): Promise<InDoubtItem[]> {
  try {
    return (await readInDoubt(api)).items;
  } catch (error) {
    if (error instanceof LabError) return [];
    throw error;
  }
}

const nameOf = (cycle: readonly Wait[]): string =>
  cycle
    .map(({ waiter }) => waiter)
    .sort()
    .join(' ');

function isSameLater(before: readonly Wait[], now: readonly Wait[]): boolean {
  if (nameOf(before) !== nameOf(now)) return false;
  return now.every((wait) => {
    const same = before.find(({ waiter, service }) => waiter === wait.waiter && service === wait.service);
    return same !== undefined && wait.waitingMs > same.waitingMs;
  });
}
