/**
 * Counts hits in the bucket, one write at a time per process: hits that arrive meanwhile share the next
 * write. Exact over replicas, because the bucket compares and sets.
 */
import type { FaultBucket } from './bucket.ts';
import type { Fault } from './fault.ts';

/** Resolves to whether the hit counts: false once a fault has reached its bound. */
export type Tally = (fault: Fault) => Promise<boolean>;

type Waiting = { resolve: (fired: boolean) => void; reject: (error: unknown) => void };

export function createTally(bucket: FaultBucket): Tally {
  const waiting = new Map<string, { fault: Fault; hits: Waiting[] }>();
  let flushing = false;

  const flush = async () => {
    flushing = true;
    for (let next = waiting.values().next(); !next.done; next = waiting.values().next()) {
      const { fault, hits } = next.value;
      waiting.delete(fault.id);
      try {
        const fired = await bucket.count(fault.id, hits.length, fault.hitsMax ?? Number.MAX_SAFE_INTEGER);
        hits.forEach((hit, index) => {
          hit.resolve(index < fired);
        });
      } catch (error) {
        for (const hit of hits) hit.reject(error);
      }
    }
    flushing = false;
  };

  return (fault) =>
    new Promise((resolve, reject) => {
      const entry = waiting.get(fault.id) ?? { fault, hits: [] };
      entry.hits.push({ resolve, reject });
      waiting.set(fault.id, entry);
      if (!flushing) void flush();
    });
}
