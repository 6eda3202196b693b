/**
 * Publishes what nobody published: rows that a crash, or a broker that did not answer, left behind. Any
 * number of relays may run; each row is claimed by one. It also forgets rows past their retention.
 */
import type pg from 'pg';
import type { Publish } from '#libs/nats/publish.ts';
import { eventAgeMsMax } from '#libs/nats/streams.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import type { Retrace } from '#libs/telemetry/retrace.ts';
import { claimUnpublished, forgetPublished, markPublished, type OutboxMessage } from './outbox.ts';
import { repeat } from './repeat.ts';

const tickMs = 1_000;
/** Far above a healthy publish and the publisher's quiet time. */
const patienceMs = 2_000;
const rowsMax = 200;
/** A row outlives its message in the stream by a wide margin. */
const retentionMs = eventAgeMsMax + 2 * 60 * 60 * 1_000;
const forgetEveryTicks = 60;
const forgetRowsMax = 500;
const roundsMax = 20;

export type Relay = { stop(): Promise<void> };

type Retracing = { tell: Retrace; isOurs(messageId: string): boolean; sent(): Promise<void> };

export function startRelay(options: {
  pool: pg.Pool;
  publish: Publish;
  now(): Date;
  onRelayed(messages: number): void;
  onTrouble(error: unknown, what: string): void;
  /** Tells the spans again of what a dead process left. Absent: nothing is traced. */
  retrace?: Retracing | undefined;
}): Relay {
  const { pool, publish, now, onRelayed, onTrouble, retrace } = options;
  let tick = 0;

  const relayOnce = async (): Promise<number> => {
    const olderThan = new Date(now().getTime() - patienceMs);
    return runThenCommit(pool, async (tx) => {
      const rows = await claimUnpublished(tx, olderThan, rowsMax);
      if (rows.length === 0) return 0;
      const results = await Promise.allSettled(rows.map((row) => publish(row)));
      const stored = rows.filter((_, index) => results[index]?.status === 'fulfilled');
      const messageIds = stored.map((row) => row.messageId);
      if (retrace) await tellAgain(stored, retrace);
      await markPublished(tx, messageIds, now());
      return stored.length;
    });
  };

  /** Before they are marked: if this process dies as well, the next one tells them. */
  const tellAgain = async (rows: readonly OutboxMessage[], { tell, isOurs, sent }: Retracing) => {
    const left = rows.filter(({ messageId }) => !isOurs(messageId));
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
