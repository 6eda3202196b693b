/**
 * While one batch is in its transaction the next one gathers. By itself no lane lingers: an idle one starts at once
 * with what it has, and a busy one finds its next batch waiting. Where orders enter, and where nobody waits, a pause
 * makes fewer and larger batches (measured in docs/performance.md: elsewhere a linger only costs).
 */
export type Gatherer<Item> = {
  push(items: readonly Item[]): void;
  /** Before all that waits: for items that were taken before it. */
  putBack(items: readonly Item[]): void;
  /** Items waiting, not counting the batch under way. */
  waiting(): number;
  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void>;
};

export function gather<Item>(options: {
  batchMax: number;
  /** A batch holds a key once: the second waits for the next batch, which sees what the first one did. */
  keyOf(item: Item): string;
  /** How long to pause before a batch that is not full, asked each time. Default 0. */
  pauseMs?(): number;
  /** Must not throw: it settles its items itself. */
  run(batch: Item[]): Promise<void>;
}): Gatherer<Item> {
  let queue: Item[] = [];
  let running: Promise<void> | null = null;

  const takeBatch = (): Item[] => {
    const { batch, left } = takeDistinct(queue, options.batchMax, options.keyOf);
    queue = left;
    return batch;
  };

  const loop = async () => {
    while (queue.length > 0) {
      const isFull = queue.length >= options.batchMax;
      await turn(isFull ? 0 : (options.pauseMs?.() ?? 0));
      await options.run(takeBatch());
    }
    running = null;
  };

  const start = () => {
    if (!running && queue.length > 0) running = loop();
  };

  return {
    push(items) {
      for (const item of items) queue.push(item);
      start();
    },
    putBack(items) {
      if (items.length > 0) queue = items.concat(queue);
      start();
    },
    waiting: () => queue.length,
    idle: async () => {
      while (running) await running;
    },
  };
}

/** From the front, each key once; `left` keeps its order. */
export function takeDistinct<Item>(
  queue: readonly Item[],
  max: number,
  keyOf: (item: Item) => string,
): { batch: Item[]; left: Item[] } {
  const keys = new Set<string>();
  const batch: Item[] = [];
  const left: Item[] = [];
  let next = 0;
  for (; next < queue.length && batch.length < max; next++) {
    const item = queue[next] as Item;
    const key = keyOf(item);
    if (keys.has(key)) left.push(item);
    else batch.push(item);
    keys.add(key);
  }
  return { batch, left: left.concat(queue.slice(next)) };
}

/** At least a macrotask, so that everything that arrived in this turn of the event loop joins the batch. */
const turn = (pauseMs: number) =>
  new Promise<void>((resolve) => {
    if (pauseMs > 0) setTimeout(resolve, pauseMs);
    else setImmediate(resolve);
  });
