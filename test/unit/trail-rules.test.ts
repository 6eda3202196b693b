/** The rules about an order's story on facts made by hand: what is a violation, and what is only under way. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  createEventTable,
  emptyWords,
  eventWord,
  inJournal,
  inStream,
  readUuid,
  writeUuid,
} from '#libs/checker/event-table.ts';
import { kindOf } from '#libs/checker/event-words.ts';
import { publishGraceMs } from '#libs/checker/facts.ts';
import { storedAgeMsMax } from '#libs/nats/streams.ts';
import { live, of, quiet, world } from '../support/checked-world.ts';

const everywhere = inJournal | inStream;

/** The one order that two-phase commit has dispatched, and its one event. */
function told(seen: number, ageMs: number) {
  const { facts, order, orderId, ...rest } = world();
  const readAtMs = 1_800_000_000_000;
  const events = createEventTable(1);
  const say = (over: { id?: string; cause?: string; type?: string; lamport?: number } = {}) => {
    const event = emptyWords();
    const { id = randomUUID(), cause = randomUUID(), type = 'order.dispatched', lamport = 3 } = over;
    writeUuid(id, event.words, eventWord.id);
    writeUuid(orderId, event.words, eventWord.order);
    writeUuid(cause, event.words, eventWord.cause);
    event.words[eventWord.lamport] = lamport;
    event.words[eventWord.kind] = kindOf(type, 'order');
    event.timeMs = readAtMs - ageMs;
    events.mark(events.add(event), seen);
    return id;
  };
  const id = say();
  facts.trail = { events, silent: 0, differences: [], strangers: [], causeless: [], readAtMs };
  return { facts, order, orderId, id, say, ...rest };
}

describe('When an event is in the journal and not in the stream', () => {
  test('then a quiet check finds it at once, and a live one when it is late', () => {
    const { facts, orderId } = told(inJournal, 1_000);
    expect(of(facts, 'I14', quiet)).toMatchObject([{ orderId }]);
    expect(of(facts, 'I14', live)).toEqual([]);
    expect(of(told(inJournal, publishGraceMs + 1).facts, 'I14', quiet)).toHaveLength(1);
  });

  test('then a live check leaves a commit alone that ended lately, whenever it was prepared', () => {
    const { facts, transaction } = told(inJournal, 10 * publishGraceMs);
    expect(of(facts, 'I14', live)).toEqual([]);
    transaction.endedAgeMs = 2 * publishGraceMs;
    expect(of(facts, 'I14', live)).toHaveLength(1);
  });

  test('then nobody misses what the stream has dropped because of its age', () => {
    expect(of(told(inJournal, storedAgeMsMax).facts, 'I14', quiet)).toEqual([]);
    expect(of(told(inJournal, storedAgeMsMax - 1).facts, 'I14', quiet)).toHaveLength(1);
  });
});

test('When an event is in the stream and in no journal, then every check finds it', () => {
  const { facts, orderId } = told(inStream, 0);
  expect(of(facts, 'I14', live)).toMatchObject([{ orderId }]);
});

describe('When an order has its events', () => {
  test('then it begins once, and everything else has an earlier cause', () => {
    const { facts, say, id } = told(everywhere, 0);
    say({ cause: id, type: 'order.confirmed', lamport: 4 });
    expect([of(facts, 'I13'), of(facts, 'I14')]).toEqual([[], []]);
    say({ cause: id, type: 'order.confirmed', lamport: 3 });
    say({ type: 'order.confirmed' });
    say();
    expect(of(facts, 'I13').map(({ detail }) => detail)).toEqual([
      expect.stringContaining('has logical time 3, and itself 3'),
      expect.stringContaining('was never said'),
      expect.stringContaining('second beginning'),
    ]);
  });

  test('then one of the saga needs a first event of its own kind', () => {
    const { facts, order, orderId } = told(everywhere, 0);
    order.protocol = 'saga';
    expect(of(facts, 'I13').map(({ detail }) => detail)).toEqual([
      expect.stringContaining('was never said'),
      'no first event was said of it',
    ]);
    expect(of(facts, 'I13')[0]?.orderId).toBe(orderId);
  });
});

test('A table finds what it holds, however much it has grown', () => {
  const events = createEventTable(0);
  const ids = Array.from({ length: 20_000 }, () => randomUUID());
  const event = emptyWords();
  for (const id of ids) {
    writeUuid(id, event.words, eventWord.id);
    events.add(event);
  }
  for (const [row, id] of ids.entries()) {
    writeUuid(id, event.words, eventWord.id);
    expect(events.find(event.words)).toBe(row);
    expect(readUuid(event.words, 0)).toBe(id);
  }
  writeUuid(randomUUID(), event.words, eventWord.id);
  expect(events.find(event.words)).toBe(-1);
});
