import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gather } from '#libs/step/gather.ts';

type Item = { key: string; number: number };

const pushes = fc.array(fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 }), { maxLength: 12 });
const macrotask = () => new Promise((resolve) => setImmediate(resolve));

/** Pushes while batches run, each batch taking a few turns of the event loop. */
async function runThrough(keys: string[][], batchMax: number): Promise<Item[][]> {
  const batches: Item[][] = [];
  let underWay = 0;
  const gatherer = gather<Item>({
    batchMax,
    keyOf: (item) => item.key,
    async run(batch) {
      underWay += 1;
      expect(underWay).toBe(1);
      batches.push(batch);
      for (let turns = batch.length % 3; turns >= 0; turns--) await macrotask();
      underWay -= 1;
    },
  });
  let number = 0;
  for (const list of keys) {
    gatherer.push(list.map((key) => ({ key, number: number++ })));
    if (list.length % 2 === 0) await macrotask();
  }
  await gatherer.idle();
  expect(gatherer.waiting()).toBe(0);
  return batches;
}

describe('When items gather while batches run', () => {
  test('then everything comes out once, no batch holds a key twice, and each key keeps its order', async () => {
    await fc.assert(
      fc.asyncProperty(pushes, fc.integer({ min: 1, max: 6 }), async (keys, batchMax) => {
        const batches = await runThrough(keys, batchMax);
        for (const batch of batches) {
          expect(batch.length).toBeLessThanOrEqual(batchMax);
          expect(batch.length).toBeGreaterThan(0);
          expect(new Set(batch.map(({ key }) => key)).size).toBe(batch.length);
        }
        const out = batches.flat();
        expect(out.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
          keys.flat().map((_, index) => index),
        );
        for (const [key, same] of Map.groupBy(out, (item) => item.key)) {
          const numbers = same.map(({ number }) => number);
          expect(numbers, key).toEqual([...numbers].sort((a, b) => a - b));
        }
      }),
    );
  });

  test('then what arrives in one turn of the event loop makes one batch', async () => {
    const batches = await runThrough(
      [['a'], ['b'], ['c']].map((list) => list),
      10,
    );
    expect(batches.map((batch) => batch.length)).toEqual([3]);
  });
});

describe('When a listener pauses before its batches', () => {
  test('then it does not while a full one waits', async () => {
    const { seen, options } = listening(() => 20);
    const gatherer = gather<number>(options);
    gatherer.push([1, 2, 3, 4, 5, 6, 7]);
    await gatherer.idle();
    expect(seen).toEqual(['batch of 3', 'batch of 3', 'pause of 20 ms', 'batch of 1']);
  });

  test('then it asks each time how long', async () => {
    const pauses = [0, 30];
    const { seen, options } = listening(() => pauses.shift() ?? 0);
    const gatherer = gather<number>(options);
    for (const item of [1, 2, 3]) {
      gatherer.push([item]);
      await gatherer.idle();
    }
    const one = 'batch of 1';
    expect(seen).toEqual(['pause of 0 ms', one, 'pause of 30 ms', one, 'pause of 0 ms', one]);
  });

  test('then what comes in the meantime joins the batch', async () => {
    const { seen, options } = listening(() => 300);
    const gatherer = gather<number>(options);
    gatherer.push([1]);
    setTimeout(() => gatherer.push([2]), 20);
    await gatherer.idle();
    expect(seen).toEqual(['pause of 300 ms', 'batch of 2']);
  });
});

/** No clock: a timer of Node's may end a moment before the clock says so. */
function listening(pauseMs: () => number) {
  const seen: string[] = [];
  const options = {
    batchMax: 3,
    keyOf: String,
    pauseMs() {
      const ms = pauseMs();
      seen.push(`pause of ${ms} ms`);
      return ms;
    },
    async run(batch: number[]) {
      seen.push(`batch of ${batch.length}`);
    },
  };
  return { seen, options };
}
