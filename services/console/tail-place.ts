/**
 * Where a listener goes on in the stream of events. Usually where it stands. But a stream that has lost its tail, or was
 * made anew, gives sequences away again, so that a place says nothing by itself: what the listener has not seen yet is
 * what was stored after the last message that it has seen. A message stays where it is until it is lost, and the
 * broker's clock goes on, so the times tell them apart.
 */
import type { StoredMessages } from '#libs/nats/stored-messages.ts';

/** `isBehind`: the stream holds something from `next` on. */
export type TailPlace = { next: number; isBehind: boolean };

/** `seenAtMs`: when the last message that was seen was stored. Throws when the broker is away. */
export async function placeIn(stored: StoredMessages, next: number, seenAtMs: number): Promise<TailPlace> {
  const { first, last } = await stored.bounds();
  const at = (await stands(stored, next, last, seenAtMs))
    ? next
    : await firstAfter(stored, first, Math.min(last, next), seenAtMs);
  return { next: at, isBehind: at <= last };
}

/** Whether the message before the place is the one that was seen there, or is past its time and can say nothing. */
async function stands(
  stored: StoredMessages,
  next: number,
  last: number,
  seenAtMs: number,
): Promise<boolean> {
  if (last < next - 1) return false;
  const before = await stored.from(next - 1);
  return before?.seq !== next - 1 || before.time.getTime() === seenAtMs;
}

/** Of those from `first` to `last`, by halves; after the last one when none is that young. */
async function firstAfter(
  stored: StoredMessages,
  first: number,
  last: number,
  seenAtMs: number,
): Promise<number> {
  let low = first;
  let high = last + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const found = await stored.from(middle);
    if (found && found.time.getTime() <= seenAtMs) low = found.seq + 1;
    else high = middle;
  }
  return low;
}
