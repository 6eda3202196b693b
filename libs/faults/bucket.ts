/**
 * Where the faults are kept: one NATS KV bucket that every service listens to, so that a change takes effect
 * at once and survives a restart. Key `active` holds all faults (one revision: set and reset are atomic);
 * keys `hits.<fault id>` count, over all replicas, how often each has fired.
 *
 * Nothing here makes a consumer or reads directly (DIRECT.GET): services may neither (docs/security.md).
 */
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';
import { z } from 'zod';
import { provisioned } from '#libs/nats/provisioned.ts';
import { faultBucket, faultsSubject } from '#libs/nats/streams.ts';
import { type Fault, fault } from './fault.ts';

const activeKey = 'active';
const updateAttemptsMax = 50;
/** For what was said while the connection was away; otherwise a change is heard as it is stored. */
const rereadEveryMs = 5_000;

const storedFaults = z.array(fault);

export type FaultBucket = {
  read(): Promise<{ revision: number; faults: Fault[] }>;
  /** Replaces all faults. With `expected`, only if nobody else did meanwhile: else false. */
  write(faults: Fault[], expected?: number): Promise<boolean>;
  watch(onChange: (faults: Fault[], revision: number) => void): Promise<() => void>;
  /** Adds to a fault's hits, up to its bound: says how many of them fired. */
  count(faultId: string, hits: number, hitsMax: number): Promise<number>;
  hits(faultIds: readonly string[]): Promise<Map<string, number>>;
};

/** The bucket is provisioned with the streams (infra/nats/provision.ts). */
export async function openFaultBucket(connection: NatsConnection): Promise<FaultBucket> {
  const kv = await new Kvm(connection).open(faultBucket, { allow_direct: false });

  const read: FaultBucket['read'] = async () => {
    const entry = await kv.get(activeKey);
    return { revision: entry?.revision ?? 0, faults: parse(entry?.string()) };
  };
  const forget = async (faultIds: readonly string[]) => {
    for (const id of faultIds) {
      const entry = await kv.get(hitsKey(id));
      if (entry?.operation === 'PUT') await kv.delete(hitsKey(id));
    }
  };

  return {
    read,
    async write(faults, expected) {
      const before = (await read()).faults.map(({ id }) => id);
      const after = faults.map(({ id }) => id);
      // A hit of an earlier fault of the same name may have been counted after its end.
      await forget(after.filter((id) => !before.includes(id)));
      const text = JSON.stringify(faults);
      if (expected === undefined) await kv.put(activeKey, text);
      else if (!(await replaced(kv, activeKey, text, expected))) return false;
      await forget(before.filter((id) => !after.includes(id)));
      return true;
    },
    async watch(onChange) {
      let heard = 0;
      const reread = async () => {
        const heardBefore = heard;
        const { faults, revision } = await read();
        // What was heard meanwhile is newer.
        if (heard === heardBefore) onChange(faults, revision);
      };
      const subscription = connection.subscribe(faultsSubject, {
        callback(error, message) {
          if (error) return;
          heard += 1;
          onChange(parse(message.string()), Number(message.headers?.get('Nats-Sequence') || 0));
        },
      });
      // The broker may be away: what was known until then goes on.
      const timer = setInterval(() => void reread().catch(() => {}), rereadEveryMs);
      timer.unref();
      const stop = () => {
        clearInterval(timer);
        subscription.unsubscribe();
      };
      try {
        await provisioned(`the bucket ${faultBucket}`, reread);
      } catch (error) {
        stop();
        throw error;
      }
      return stop;
    },
    async count(faultId, hits, hitsMax) {
      for (let attempt = 1; attempt <= updateAttemptsMax; attempt++) {
        const entry = await kv.get(hitsKey(faultId));
        const before = Number(entry?.string() || 0);
        const fired = Math.min(hits, hitsMax - before);
        if (fired <= 0) return 0;
        if (await replaced(kv, hitsKey(faultId), String(before + fired), entry?.revision ?? 0)) return fired;
      }
      throw new Error(`the hits of fault ${faultId} could not be counted in ${updateAttemptsMax} attempts`);
    },
    async hits(faultIds) {
      const counted = faultIds.map(async (id): Promise<[string, number]> => {
        const entry = await kv.get(hitsKey(id));
        return [id, Number(entry?.string() || 0)];
      });
      return new Map(await Promise.all(counted));
    },
  };
}

const hitsKey = (faultId: string): string => `hits.${faultId}`;
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

/** What nobody of ours has written is no fault. */
function parse(text: string | undefined): Fault[] {
  if (!text) return [];
  try {
    const parsed = storedFaults.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : [];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}
