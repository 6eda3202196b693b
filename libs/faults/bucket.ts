/**
 * Where the faults are kept: one NATS KV bucket that every service watches, so that a change takes effect
 * at once and survives a restart. Key `active` holds all faults (one revision: set and reset are atomic);
 * keys `hits.<fault id>` count, over all replicas, how often each has fired.
 */
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';
import { z } from 'zod';
import { type Fault, fault } from './fault.ts';

const bucketName = 'faults';
const activeKey = 'active';
const updateAttemptsMax = 50;

const storedFaults = z.array(fault);

export type FaultBucket = {
  read(): Promise<{ revision: number; faults: Fault[] }>;
  /** Replaces all faults. With `expected`, only if nobody else did meanwhile: else false. */
  write(faults: Fault[], expected?: number): Promise<boolean>;
  watch(onChange: (faults: Fault[]) => void): Promise<() => void>;
  /** Adds to a fault's hits, up to its bound: says how many of them fired. */
  count(faultId: string, hits: number, hitsMax: number): Promise<number>;
  hits(): Promise<Map<string, number>>;
};

export async function openFaultBucket(connection: NatsConnection): Promise<FaultBucket> {
  const kv = await new Kvm(connection).create(bucketName, { history: 1 });
  return {
    async read() {
      const entry = await kv.get(activeKey);
      return { revision: entry?.revision ?? 0, faults: parse(entry?.string()) };
    },
    async write(faults, expected) {
      const text = JSON.stringify(faults);
      if (expected === undefined) {
        await kv.put(activeKey, text);
      } else if (!(await replaced(kv, activeKey, text, expected))) return false;
      const alive = new Set(faults.map(({ id }) => id));
      for await (const key of await kv.keys('hits.*')) {
        if (!alive.has(key.slice('hits.'.length))) await kv.delete(key);
      }
      return true;
    },
    async watch(onChange) {
      const watcher = await kv.watch({ key: activeKey });
      const loop = async () => {
        for await (const entry of watcher) onChange(entry.operation === 'PUT' ? parse(entry.string()) : []);
      };
      void loop();
      return () => watcher.stop();
    },
    async count(faultId, hits, hitsMax) {
      for (let attempt = 1; attempt <= updateAttemptsMax; attempt++) {
        const entry = await kv.get(`hits.${faultId}`);
        const before = Number(entry?.string() || 0);
        const fired = Math.min(hits, hitsMax - before);
        if (fired <= 0) return 0;
        if (await replaced(kv, `hits.${faultId}`, String(before + fired), entry?.revision ?? 0)) return fired;
      }
      throw new Error(`the hits of fault ${faultId} could not be counted in ${updateAttemptsMax} attempts`);
    },
    async hits() {
      const counts = new Map<string, number>();
      for await (const key of await kv.keys('hits.*')) {
        const entry = await kv.get(key);
        counts.set(key.slice('hits.'.length), Number(entry?.string() || 0));
      }
      return counts;
    },
  };
}

const wrongLastSequence = 10071;

/** Compare and set: false when the key has moved on since `revision`. */
async function replaced(kv: KV, key: string, text: string, revision: number): Promise<boolean> {
  try {
    // Revision 0 means that the key is not there yet, and the client's `update` does not take it.
    if (revision === 0) await kv.create(key, text);
    else await kv.update(key, text, revision);
    return true;
  } catch (error) {
    if ((error as { code?: number }).code === wrongLastSequence) return false;
    throw error;
  }
}

function parse(text: string | undefined): Fault[] {
  if (!text) return [];
  const parsed = storedFaults.safeParse(JSON.parse(text));
  return parsed.success ? parsed.data : [];
}
