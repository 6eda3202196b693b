/** Many ask about a transaction each, and one question to a database or a service serves all who ask meanwhile. */
import { gather } from '#libs/step/gather.ts';

const batchMax = 200;

/** While one question is on its way the next one gathers what comes. */
export function gathered<Item extends { transactionId: string }, Result>(
  write: (items: Item[]) => Promise<Map<string, Result>>,
): (item: Item) => Promise<Result | undefined> {
  type Waiting = { item: Item; resolve(result: Result | undefined): void; reject(error: unknown): void };
  const queue = gather<Waiting>({
    batchMax,
    keyOf: ({ item }) => item.transactionId,
    async run(batch) {
      try {
        const results = await write(batch.map(({ item }) => item));
        for (const { item, resolve } of batch) resolve(results.get(item.transactionId));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    },
  });
  return (item) => new Promise((resolve, reject) => queue.push([{ item, resolve, reject }]));
}
