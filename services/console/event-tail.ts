/**
 * The stream of events from a place on, and then as it grows, for any number of listeners. What is stored just now
 * is heard, once for all of them, and kept for a moment; what was stored before, or was missed, is read.
 */
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import { storedEventsPrefix } from '#libs/nats/streams.ts';

const keptMax = 1_000;
/** After so long without a word a listener looks for itself: the broker may have been away. */
const silenceMsMax = 1_000;

export type TailMessage = { sequence: number; body: string };

export type EventTail = {
  /** The sequence of the last message so far. */
  last(): Promise<number>;
  /** Begins at this sequence and ends with the signal. Goes on by itself when the broker was away. */
  read(from: number, signal: AbortSignal): AsyncGenerator<TailMessage>;
};

export function createEventTail(connection: NatsConnection): EventTail {
  const stored = storedMessages(connection);
  const kept = new Map<number, TailMessage>();
  const waiting = new Set<(isHeard: boolean) => void>();
  let newest = 0;
  let heard = 0;
  let readers = 0;
  let subscription: Subscription | undefined;

  const hear = (error: Error | null, message: Msg) => {
    if (error) return;
    // The broker's own stands last, after one that a publisher may have set.
    const sequence = Number(message.headers?.values('Nats-Sequence').at(-1));
    // A stream that was made anew counts from the beginning.
    if (sequence <= newest) kept.clear();
    kept.set(sequence, { sequence, body: message.string() });
    for (const oldest of kept.keys()) {
      if (kept.size <= keptMax) break;
      kept.delete(oldest);
    }
    newest = sequence;
    heard += 1;
    for (const wake of waiting) wake(true);
  };
  const listen = () => {
    readers += 1;
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
    return message && { sequence: message.seq, body: message.string() };
  };

  return {
    last: async () => (await stored.bounds()).last,
    async *read(from, signal) {
      listen();
      try {
        let next = from;
        let isBehind = true;
        while (!signal.aborted) {
          const heardBefore = heard;
          const message = kept.get(next) ?? (isBehind || next <= newest ? await look(next) : null);
          if (message) {
            yield message;
            next = message.sequence + 1;
          } else if (heard === heardBefore) {
            isBehind = !(await somethingHeard(signal));
          }
        }
      } finally {
        leave();
      }
    },
  };
}
