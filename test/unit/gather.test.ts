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
    const pauseMs = 400;
    const startedAt = performance.now();
    const at: { size: number; pauses: number }[] = [];
    const gatherer = gather<number>({
      batchMax: 3,
      keyOf: String,
      pauseMs: () => pauseMs,
      async run(batch) {
        at.push({ size: batch.length, pauses: Math.floor((performance.now() - startedAt) / pauseMs) });
      },
    });
    gatherer.push([1, 2, 3, 4, 5, 6, 7]);
    await gatherer.idle();
    expect(at).toEqual([
      { size: 3, pauses: 0 },
      { size: 3, pauses: 0 },
      { size: 1, pauses: 1 },
    ]);
  });

  test('then it asks each time how long', async () => {
    const pauses = [0, 300];
    const tookMs: number[] = [];
    let asked = performance.now();
    const gatherer = gather<number>({
      batchMax: 2,
      keyOf: String,
      pauseMs: () => pauses[tookMs.length] ?? 0,
      async run() {
        tookMs.push(performance.now() - asked);
        asked = performance.now();
      },
    });
    gatherer.push([1]);
    await gatherer.idle();
    asked = performance.now();
    gatherer.push([2]);
    await gatherer.idle();
    expect(tookMs[0]).toBeLessThan(200);
    expect(tookMs[1]).toBeGreaterThan(290);
  });
});
