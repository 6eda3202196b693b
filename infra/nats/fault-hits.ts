/**
 * Takes out of the bucket of faults what has had its time. Nobody else can: what an order carries is counted under a
 * key of its own (libs/faults/injector.ts), services may delete nothing, and of a deleted key a marker stays. All that
 * carries an order's faults has left the stream of events by then; a bucket whose keys end by themselves would take a
 * newer broker than 2.10, and would end the faults that are set as well.
 */
import type { JetStreamManager, StoredMsg } from '@nats-io/jetstream';
import { carriedHitsPrefix, eventAgeMsMax, faultBucket, faultStream } from '#libs/nats/streams.ts';

/** Of one look: the next one goes on. */
const keysMax = 1_000;
const hitsSubject = `$KV.${faultBucket}.hits.*`;

/** How many keys were taken out. */
export async function forgetHits(manager: JetStreamManager, now: Date): Promise<number> {
  const { streams } = manager;
  const before = now.getTime() - eventAgeMsMax;
  let forgotten = 0;
  let sequence = 1;
  for (let looks = 0; looks < keysMax; looks++) {
    // The broker takes both together; the client's type does not say so.
    const query: { seq: number; next_by_subj: string } = { seq: sequence, next_by_subj: hitsSubject };
    const found = await streams.getMessage(faultStream, query);
    // In the order of their time.
    if (!found || found.time.getTime() >= before) break;
    if (isOver(found)) {
      await streams.deleteMessage(faultStream, found.seq, false);
      forgotten += 1;
    }
    sequence = found.seq + 1;
  }
  return forgotten;
}

/** Hits of a fault that is set stand for as long as it is. */
const isOver = ({ subject, header }: StoredMsg): boolean =>
  subject.startsWith(`$KV.${faultBucket}.hits.${carriedHitsPrefix}`) || header.get('KV-Operation') === 'DEL';
