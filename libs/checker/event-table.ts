/**
 * The events of all orders, each once, in typed arrays: 80 bytes an event, where an object with its strings takes
 * 600. With 100,000 orders there are more than half a million of them, and the checker lives in the gateway.
 *
 * An event is sixteen words; the first four are its id, by which it is found (open addressing: Knuth, TAOCP 6.4).
 */

/** Of an event's words: ids are four each. */
export const eventWord = { id: 0, order: 4, cause: 8, lamport: 12, kind: 13, reason: 14, flags: 15 } as const;
const wordsOfEvent = 16;

/** Where it was seen. */
export const inJournal = 1;
export const inStream = 2;

/** One event, to be filled in and put into a table. */
export type EventWords = { words: Uint32Array; timeMs: number };
export const emptyWords = (): EventWords => ({ words: new Uint32Array(wordsOfEvent), timeMs: 0 });

export type EventTable = {
  readonly rows: number;
  /** The row of the event whose id stands in these words at this place; -1 when there is none. */
  find(words: Uint32Array, at?: number): number;
  /** Gives its row. The id must not be in the table. */
  add(event: EventWords): number;
  mark(row: number, flag: number): void;
  word(row: number, at: number): number;
  timeOf(row: number): number;
  uuid(row: number, at: number): string;
  /** The row whose event caused this one; -1 when it is not in the table. */
  causeOf(row: number): number;
  isSameOrder(row: number, other: number): boolean;
  /** Whether one of the words from here to there, this one not included, is another. */
  differs(row: number, event: EventWords, from: number, to: number): boolean;
};

export function createEventTable(rowsExpected: number): EventTable {
  let capacity = Math.max(1_024, Math.ceil(rowsExpected * 1.05));
  let words = new Uint32Array(capacity * wordsOfEvent);
  let times = new Float64Array(capacity);
  let slots = emptySlots(capacity);
  let rows = 0;

  /** The last word of a UUIDv7 is random; of other ids it is as good as any. */
  const slotOf = (of: Uint32Array, at: number): number => {
    const mask = slots.length - 1;
    let slot = ((of[at + 3] as number) ^ Math.imul(of[at + 2] as number, 0x9e3779b1)) & mask;
    for (;;) {
      const row = slots[slot] as number;
      if (row < 0 || isSameId(words, row * wordsOfEvent, of, at)) return slot;
      slot = (slot + 1) & mask;
    }
  };
  const grow = () => {
    capacity = Math.ceil(capacity * 1.5);
    const [before, timesBefore] = [words, times];
    words = new Uint32Array(capacity * wordsOfEvent);
    words.set(before);
    times = new Float64Array(capacity);
    times.set(timesBefore);
    if (slots.length >= capacity * 1.25) return;
    slots = emptySlots(capacity);
    for (let row = 0; row < rows; row++) slots[slotOf(words, row * wordsOfEvent)] = row;
  };
  const find = (of: Uint32Array, at = 0) => slots[slotOf(of, at)] as number;

  return {
    get rows() {
      return rows;
    },
    find,
    add(event) {
      if (rows === capacity) grow();
      words.set(event.words, rows * wordsOfEvent);
      times[rows] = event.timeMs;
      slots[slotOf(event.words, 0)] = rows;
      return rows++;
    },
    mark(row, flag) {
      const at = row * wordsOfEvent + eventWord.flags;
      words[at] = (words[at] as number) | flag;
    },
    word: (row, at) => words[row * wordsOfEvent + at] as number,
    timeOf: (row) => times[row] as number,
    uuid: (row, at) => readUuid(words, row * wordsOfEvent + at),
    causeOf: (row) => find(words, row * wordsOfEvent + eventWord.cause),
    isSameOrder: (row, other) =>
      isSameId(words, row * wordsOfEvent + eventWord.order, words, other * wordsOfEvent + eventWord.order),
    differs(row, event, from, to) {
      for (let at = from; at < to; at++) {
        if (words[row * wordsOfEvent + at] !== event.words[at]) return true;
      }
      return false;
    },
  };
}

/** A power of two, so that a mask takes the place of a division; at most two thirds are ever taken. */
const emptySlots = (capacity: number) => new Int32Array(2 ** Math.ceil(Math.log2(capacity * 1.5))).fill(-1);

const isSameId = (a: Uint32Array, atA: number, b: Uint32Array, atB: number): boolean =>
  a[atA] === b[atB] && a[atA + 1] === b[atB + 1] && a[atA + 2] === b[atB + 2] && a[atA + 3] === b[atB + 3];

/** Expects a UUID, as the event schema has checked. */
export function writeUuid(text: string, into: Uint32Array, at: number): void {
  into[at] = Number.parseInt(text.slice(0, 8), 16);
  into[at + 1] = Number.parseInt(text.slice(9, 13) + text.slice(14, 18), 16);
  into[at + 2] = Number.parseInt(text.slice(19, 23) + text.slice(24, 28), 16);
  into[at + 3] = Number.parseInt(text.slice(28, 36), 16);
}

export function readUuid(words: Uint32Array, at: number): string {
  const [a, b] = [hexOf(words[at + 1] as number), hexOf(words[at + 2] as number)];
  const [head, tail] = [hexOf(words[at] as number), hexOf(words[at + 3] as number)];
  return `${head}-${a.slice(0, 4)}-${a.slice(4)}-${b.slice(0, 4)}-${b.slice(4)}${tail}`;
}

const hexBytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const hexOf = (word: number): string =>
  `${hexBytes[word >>> 24]}${hexBytes[(word >>> 16) & 255]}${hexBytes[(word >>> 8) & 255]}${hexBytes[word & 255]}`;
