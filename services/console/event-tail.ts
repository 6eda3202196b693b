/**
 * The stream of events from a place on, and then as it grows, for any number of listeners. What is stored just now
 * is heard, once for all of them, and kept for a moment; what was stored before, or was missed, is read. A stream that
 * loses its tail, or is made anew, uses its sequences again: then every listener looks for its place (tail-place.ts).
 */
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import { storedEventsPrefix } from '#libs/nats/streams.ts';
import { placeIn } from './tail-place.ts';

const keptMax = 1_000;
/** After so long without a word a listener looks for itself: the broker may have lost something. */
const silenceMsDefault = 1_000;

export type TailMessage = {
  sequence: number;
  /** When the broker stored it, by the broker's clock. */
  storedAtMs: number;
  body: string;
};

export type EventTail = {
  /** The sequence of the last message so far. */
  last(): Promise<number>;
  /** The sequence of the message that stood there, or, when it is lost, of the first one that was stored after it. */
  find(sequence: number, storedAtMs: number): Promise<number>;
  /** Begins at this sequence and ends with the signal. Goes on by itself when the broker was away. */
  read(from: number, signal: AbortSignal): AsyncGenerator<TailMessage>;
};

export function createEventTail(connection: NatsConnection, silenceMsMax = silenceMsDefault): EventTail {
  const stored = storedMessages(connection);
  const kept = new Map<number, TailMessage>();
  const waiting = new Set<(isHeard: boolean) => void>();
  let newest = 0;
  let heard = 0;
  /** Goes up when nobody's place is certain: what is heard does not follow what was heard before, or the broker was away. */
  let generation = 0;
  let readers = 0;
  let subscription: Subscription | undefined;
  let isNoticing = false;

  const hear = (error: Error | null, message: Msg) => {
    if (error) return;
    // The broker's own stands last, after one that a publisher may have set.
    const said = (name: string) => message.headers?.values(name).at(-1);
    const sequence = Number(said('Nats-Sequence'));
    if (sequence <= newest) kept.clear();
    if (newest > 0 && sequence !== newest + 1) generation += 1;
    const storedAt = said('Nats-Time-Stamp');
    const storedAtMs = storedAt === undefined ? Date.now() : Date.parse(storedAt);
    kept.set(sequence, { sequence, storedAtMs, body: message.string() });
    for (const oldest of kept.keys()) {
      if (kept.size <= keptMax) break;
      kept.delete(oldest);
    }
    newest = sequence;
    heard += 1;
    for (const wake of waiting) wake(true);
  };
  /** Ends with the connection. What was stored meanwhile was not heard, and the next one may seem to follow all the same. */
  const noticeReturns = async () => {
    for await (const { type } of connection.status()) {
      if (type !== 'reconnect') continue;
      kept.clear();
      generation += 1;
    }
  };
  const listen = () => {
    readers += 1;
    if (!isNoticing) void noticeReturns();
    isNoticing = true;
    subscription ??= connection.subscribe(`${storedEventsPrefix}.>`, { callback: hear });
  };
  const leave = () => {
    readers -= 1;
    if (readers > 0) return;
    subscription?.unsubscribe();
    subscription = undefined;
    kept.clear();
    newest = 0;
  };
  /** False after a silence. */
  const somethingHeard = (signal: AbortSignal) =>
    new Promise<boolean>((resolve) => {
      const wake = (isHeard: boolean) => {
        clearTimeout(timer);
        waiting.delete(wake);
        signal.removeEventListener('abort', onAbort);
        resolve(isHeard);
      };
      const onAbort = () => wake(false);
      const timer = setTimeout(onAbort, silenceMsMax);
      waiting.add(wake);
      signal.addEventListener('abort', onAbort);
    });
  const look = async (sequence: number): Promise<TailMessage | null> => {
    // The broker may be away: then nothing is found, and the next silence ends with another look.
    const message = await stored.from(sequence).catch(() => null);
    return message && { sequence: message.seq, storedAtMs: message.time.getTime(), body: message.string() };
  };

  /** When the message before this one was stored, which is all that tells a stream from its successor. */
  const storedBefore = async (sequence: number, signal: AbortSignal): Promise<number> => {
    while (sequence > 1 && !signal.aborted) {
      try {
        const before = await stored.from(sequence - 1);
        if (before?.seq === sequence - 1) return before.time.getTime();
        break;
      } catch {
        // The broker is away, and knows it when it is back.
        await somethingHeard(signal);
      }
    }
    return Date.now();
  };

  return {
    last: async () => (await stored.bounds()).last,
    async find(sequence, storedAtMs) {
      const { next } = await placeIn(stored, sequence + 1, storedAtMs);
      return next > sequence ? sequence : next;
    },
    async *read(from, signal) {
      listen();
      try {
        let next = from;
        let seenAtMs = await storedBefore(from, signal);
        let isBehind = true;
        let isSure = true;
        let known = generation;
        while (!signal.aborted) {
          const heardBefore = heard;
          if (!isSure || known !== generation) {
            const current = generation;
            const place = await placeIn(stored, next, seenAtMs).catch(() => undefined);
            isSure = place !== undefined;
            // What stood from there on is lost, whatever is kept of it.
            if (place && place.next < next) kept.clear();
            if (place) ({ next, isBehind } = place);
            if (place) known = current;
          }
          const isStored = isBehind || next <= newest;
          const message = isSure ? (kept.get(next) ?? (isStored ? await look(next) : null)) : null;
          if (message) {
            yield message;
            next = message.sequence + 1;
            seenAtMs = message.storedAtMs;
          } else if (heard === heardBefore) {
            isBehind = false;
            // After a silence the stream may be another one.
            isSure = await somethingHeard(signal);
          }
        }
      } finally {
        leave();
      }
    },
  };
}
