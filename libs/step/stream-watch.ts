/**
 * Notices that the broker has forgotten what it acknowledged (docs/decisions/0023): a stream rolled back to an older
 * copy, purged, or with holes; a consumer that is gone or stands beyond the end. What the stream lost goes back to
 * the outbox, and the relay publishes it again; a consumer is made again by the keeper (infra/nats/keeper.ts).
 *
 * After the broker was away nothing is published until the stream has been looked at, and for a moment more: as long
 * as nobody has written to it, everybody who looks sees exactly how far it went back.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import type pg from 'pg';
import type { Looking } from '#libs/nats/looking.ts';
import { storedAgeMsMax } from '#libs/nats/streams.ts';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import { missingRanges, newestOf, type Range, returnHoles, returnRange } from './forgotten.ts';
import { createLateMarks } from './late-marks.ts';
import { repeat } from './repeat.ts';

const lookEveryMs = 2_000;
/** From a reconnection to the first message: others connect a little later. */
const settleMs = 1_000;
/** A stream that cannot be looked at for so long is trusted: to publish twice is harmless, never to publish is not. */
const heldMsMax = 10_000;
/** Of a message, for the stream to be looked at; then it is the relay's. */
const waitsMsMax = 5_000;
const lookAgainMs = 250;
/** A node that has just come to lead a cluster may not know yet all that it has. */
const leaderCatchesUpMs = 300;
/** Of one transaction. */
const rowsMax = 1_000;

export type StreamWatch = {
  /** Resolves when the first look is over, for better or worse. */
  opened: Promise<void>;
  /** What a message must wait for before it is published, and not longer than it would for its acknowledgement. */
  opening(): Promise<void> | undefined;
  /** Looks now: something has happened to stream or consumer. */
  look(): void;
  /** The stream was seen to use sequences again: see publish.ts. */
  reused(from: number, upTo: number): void;
  /** For `/readyz`. */
  detail(): { stream: string; consumer: string };
  stop(): Promise<void>;
};

export type StreamWatchOptions = {
  looking: Looking;
  pool: pg.Pool;
  /** What this service publishes on. */
  subjects: readonly string[];
  durable: string;
  now(): Date;
  /** The broker went away. */
  onAway(): void;
  /** So many messages were lost and go out again. */
  onForgotten(messages: number): void;
  /** What is wrong with the consumer; null when it is well again. */
  onConsumer(fault: string | null): void;
  onTrouble(error: unknown, what: string): void;
};

export function watchStream(connection: NatsConnection, options: StreamWatchOptions): StreamWatch {
  const { looking, pool, subjects, durable, now, onAway, onForgotten, onConsumer, onTrouble } = options;
  const detail = { stream: 'not looked at yet', consumer: 'not looked at yet' };
  let lostBefore = '';
  let fault: string | null = null;
  const reuses: Range[] = [];
  const lateMarks = createLateMarks();
  let awayAt = now();
  let isEndKnown = false;
  /** The last one that was begun: looks come one after another. */
  let looks: Promise<unknown> = Promise.resolve();
  let held = true;
  let gate: PromiseWithResolvers<void> | undefined;
  /** How often the connection was lost: whoever waits to let go, waits for the last time only. */
  let losses = 0;

  const look = async () => {
    const found = await looking.consumer(durable);
    if (found !== fault) onConsumer(found);
    fault = found;
    detail.consumer = found ?? 'up';
    const lost = subjects.length === 0 ? 0 : await compare();
    if (lost > 0) {
      onForgotten(lost);
      lostBefore = `; ${lost} messages were lost and published again, noticed at ${now().toISOString()}`;
    }
    detail.stream = `whole${lostBefore}`;
  };

  /** The outbox is asked before the stream's ends: what is marked by then must be there. */
  const compare = async () => {
    const since = new Date(now().getTime() - storedAgeMsMax);
    // Before the database is asked, which may be away for longer than anybody is held.
    if (held && !isEndKnown) expectLateMarks(await looking.lastOn(subjects));
    const { first, holes } = await looking.ends();
    const beganMs = performance.now();
    const newest = await runThenCommit(pool, (tx) => newestOf(tx, subjects, first, since));
    let ends = await looking.lastOn(subjects);
    if (held && missingRanges(newest, ends, first).length > 0) {
      // While nobody publishes there is time to ask twice.
      await pause(leaderCatchesUpMs);
      ends = await looking.lastOn(subjects);
    }
    let lost = 0;
    for (const range of missingRanges(newest, ends, first)) {
      lost += await inRounds((tx) => returnRange(tx, range, since, rowsMax));
    }
    lost += await lateMarks.lookAgain(beganMs, (range, late) =>
      inRounds((tx) => returnRange(tx, range, since, rowsMax, late), late.taken),
    );
    // One by one, because more may be told meanwhile, and what fails is to be tried again.
    for (let range = reuses[0]; range; range = reuses[0]) {
      const taken = range;
      lost += await inRounds((tx) => returnRange(tx, taken, since, rowsMax));
      reuses.shift();
    }
    if (holes.length > 0) lost += await inRounds((tx) => returnHoles(tx, subjects, holes, since, rowsMax));
    return lost;
  };

  const expectLateMarks = (ends: readonly number[]) => {
    isEndKnown = true;
    // The last acknowledgement and the end of the connection may be read in one millisecond.
    const before = new Date(awayAt.getTime() + 1);
    subjects.forEach((subject, index) => {
      lateMarks.expect({ subject, after: ends[index] ?? 0, upTo: Number.MAX_SAFE_INTEGER }, before);
    });
  };

  /** In small transactions, so that no step waits for a large one. It ends, because what it looks for grows no more. */
  const inRounds = async (round: (tx: Tx) => Promise<string[]>, taken: string[] = []) => {
    let total = 0;
    for (;;) {
      const ids = await runThenCommit(pool, round);
      taken.push(...ids);
      total += ids.length;
      if (ids.length < rowsMax) return total;
    }
  };

  /** Resolves with whether the stream could be looked at. */
  const lookNext = (): Promise<boolean> => {
    const looked = looks.then(look).then(
      () => true,
      (error: Error) => {
        const trouble = `cannot be looked at: ${error.message}`;
        if (detail.stream !== trouble) onTrouble(error, 'the stream cannot be looked at');
        detail.stream = trouble;
        return false;
      },
    );
    looks = looked;
    return looked;
  };

  const letGo = async (afterMs: number) => {
    const mine = losses;
    const deadline = performance.now() + heldMsMax;
    const settled = pause(afterMs);
    // Nor before the keeper has mended the consumer: one that stands beyond the end would skip what is published now.
    const isWell = async () => (await lookNext()) && fault === null;
    while (mine === losses && !(await isWell()) && performance.now() < deadline) await pause(lookAgainMs);
    await settled;
    if (mine !== losses) return;
    held = false;
    gate?.resolve();
    gate = undefined;
  };

  /** One for all that wait since the first of them. */
  const closeGate = () => {
    const mine = Promise.withResolvers<void>();
    mine.promise.catch(() => undefined); // Who waits hears of it as well; perhaps nobody does.
    setTimeout(() => {
      mine.reject(new Error(`the stream was not looked at within ${waitsMsMax} ms`));
      if (gate === mine) gate = undefined;
    }, waitsMsMax).unref();
    return mine;
  };

  const listen = async () => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect') {
        losses += 1;
        held = true;
        awayAt = now();
        isEndKnown = false;
        onAway();
      } else if (type === 'reconnect') void letGo(settleMs);
    }
  };
  void listen();
  const opened = letGo(0);

  const watching = repeat({
    pauseMs: lookEveryMs,
    onTrouble: () => {},
    work: async () => void (held || (await lookNext())),
  });

  return {
    opened,
    opening() {
      if (!held) return undefined;
      gate ??= closeGate();
      return gate.promise;
    },
    look: () => void lookNext(),
    reused(from, upTo) {
      for (const subject of subjects) {
        const range = { subject, after: from - 1, upTo };
        reuses.push(range);
        lateMarks.expect(range, now());
      }
      void lookNext();
    },
    detail: () => ({ ...detail }),
    async stop() {
      losses += 1;
      gate?.reject(new Error('the service is stopping'));
      await watching.stop();
      await looks;
    },
  };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
