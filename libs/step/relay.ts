/**
 * Publishes what nobody published: rows that a crash, or a broker that did not answer, left behind. Any
 * number of relays may run; each row is claimed by one. It also forgets rows past their retention.
 */
import type pg from 'pg';
import type { Message, Publish } from '#libs/nats/publish.ts';
import { eventAgeMsMax } from '#libs/nats/streams.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import type { Retrace } from '#libs/telemetry/retrace.ts';
import { claimUnpublished, forgetPublished, markPublished, type Unpublished } from './outbox.ts';
import { assertNoLoss } from './outbox-publisher.ts';
import { repeat } from './repeat.ts';

const tickMs = 1_000;
/** Far above a healthy publish and the publisher's quiet time. */
const patienceMs = 2_000;
const rowsMax = 200;
/** A row outlives its message in the stream by a wide margin. */
const retentionMs = eventAgeMsMax + 2 * 60 * 60 * 1_000;
const forgetEveryTicks = 5;
const forgetRowsMax = 500;
const roundsMax = 20;

export type Relay = { stop(): Promise<void> };

type Retracing = { tell: Retrace; isOurs(messageId: string): boolean; sent(): Promise<void> };

export function startRelay(options: {
  pool: pg.Pool;
  publish: Publish;
  now(): Date;
  /** How often the broker went away. */
  losses(): number;
  onRelayed(messages: number): void;
  onTrouble(error: unknown, what: string): void;
  /** Tells the spans again of what a dead process left. Absent: nothing is traced. */
  retrace?: Retracing | undefined;
}): Relay {
  const { pool, publish, now, losses, onRelayed, onTrouble, retrace } = options;
  let tick = 0;

  const relayOnce = async (): Promise<number> => {
    const before = losses();
    return runThenCommit(pool, async (tx) => {
      const rows = await claimUnpublished(tx, now(), patienceMs, rowsMax);
      if (rows.length === 0) return 0;
      const results = await Promise.allSettled(rows.map(send));
      const stored = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      if (retrace) await tellAgain(stored, retrace);
      await markPublished(tx, stored);
      assertNoLoss(before, losses());
      return stored.length;
    });
  };

  const send = async (row: Unpublished) => {
    let sequence = await publish(asSent(row));
    // Where it was lost: either it stands there again, or the broker takes it for what it has published again before,
    // and lost once more. A second copy is harmless, and to be told so again and again is not.
    if (sequence === row.streamSequence) sequence = await publish(asSent(row, `/${now().getTime()}`));
    return { ...row, sequence, storedAt: now() };
  };

  /** Before they are marked: if this process dies as well, the next one tells them. */
  const tellAgain = async (rows: readonly Unpublished[], { tell, isOurs, sent }: Retracing) => {
    const left = rows.filter(
      ({ messageId, streamSequence }) => streamSequence === null && !isOurs(messageId),
    );
    for (const { body } of left) tell(body);
    if (left.length > 0) await sent();
  };

  /** In small transactions, so that the hot path never waits for a large one. */
  const forgetOnce = async (): Promise<number> => {
    const before = new Date(now().getTime() - retentionMs);
    return runThenCommit(pool, (tx) => forgetPublished(tx, before, forgetRowsMax));
  };

  return repeat({
    pauseMs: tickMs,
    onTrouble: (error) => onTrouble(error, 'the relay tries again'),
    async work() {
      tick += 1;
      const relayed = await upTo(roundsMax, rowsMax, relayOnce);
      if (relayed > 0) onRelayed(relayed);
      if (tick % forgetEveryTicks === 0) await upTo(roundsMax, forgetRowsMax, forgetOnce);
    },
  });
}

/**
 * After a purge a broker still remembers the ids of what it has purged, for its duplicate window, and would call
 * this one a repeat. So what it has forgotten goes out under an id of its own for each loss; the checker knows its row by it.
 */
function asSent({ streamSequence, ...row }: Unpublished, more = ''): Message {
  if (streamSequence === null) return row;
  return { ...row, messageId: `${row.messageId}/${streamSequence}${more}` };
}

/** Repeats while a round is full, at most so many times: a stop never waits for a whole backlog. */
async function upTo(rounds: number, full: number, once: () => Promise<number>): Promise<number> {
  let total = 0;
  for (let round = 0; round < rounds; round++) {
    const done = await once();
    total += done;
    if (done < full) break;
  }
  return total;
}
