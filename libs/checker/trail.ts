/** The rules about an order's story: one tree (I13), told alike by the stream alone and by the journals (I14). */
import { type EventType, eventTypeNames } from '#libs/contracts/events.ts';
import { storedAgeMsMax } from '#libs/nats/streams.ts';
import { type EventTable, eventWord, inJournal, inStream } from './event-table.ts';
import { typeOf } from './event-words.ts';
import { type Facts, publishGraceMs } from './facts.ts';
import { ordersCommittedLately } from './in-flight.ts';
import type { CheckOptions, Found, Violation } from './rules.ts';

const typesOf = (names: readonly EventType[]) => new Set(names.map((name) => eventTypeNames.indexOf(name)));
/** What a saga begins with, and what a person or the clock adds to it: both stand below the request in the trace. */
const first = typesOf(['order.placement.requested']);
const asked = typesOf(['order.cancellation.requested']);
/** All that two-phase commit says on the bus, at its end and asked for by the coordinator. */
const ofTwoPhase = typesOf(['order.dispatched', 'order.cancelled']);

/** I13: all of an order is of one trace, and goes back, cause by cause, to its one first event. */
export function oneTree({ orders, trail }: Facts): Found {
  if (typeof trail === 'string') return notRead(trail);
  const { events, silent, strangers, causeless } = trail;
  const violations: Violation[] = [...strangers, ...causeless];
  const roots = new Set<string>();
  for (let row = 0; row < events.rows; row++) {
    const cause = events.causeOf(row);
    const detail = cause >= 0 ? wrongCause(events, row, cause) : wrongRoot(row);
    if (detail !== null) violations.push(about(events, row, detail));
  }
  for (const { orderId, protocol } of orders.values()) {
    if (protocol === 'saga' && !roots.has(orderId)) {
      violations.push({ orderId, detail: 'no first event was said of it' });
    }
  }
  return { checked: events.rows + silent, violations };

  function wrongRoot(row: number): string | null {
    const type = events.word(row, eventWord.kind) >> 8;
    if (asked.has(type)) return null;
    const orderId = events.uuid(row, eventWord.order);
    const protocol = orders.get(orderId)?.protocol;
    // Not in the snapshot: placed since, or nobody's, which I14 looks after.
    if (protocol === undefined) return null;
    const isRoot = protocol === '2pc' ? ofTwoPhase.has(type) : first.has(type);
    if (!isRoot) return `its cause ${events.uuid(row, eventWord.cause)} was never said`;
    if (roots.has(orderId)) return 'is a second beginning of its order';
    roots.add(orderId);
    return null;
  }
}

function wrongCause(events: EventTable, row: number, cause: number): string | null {
  const named = `its cause ${typeOf(events.word(cause, eventWord.kind))} ${events.uuid(cause, eventWord.id)}`;
  if (!events.isSameOrder(row, cause)) return `${named} is of order ${events.uuid(cause, eventWord.order)}`;
  const [lamport, before] = [events.word(row, eventWord.lamport), events.word(cause, eventWord.lamport)];
  return lamport > before ? null : `${named} has logical time ${before}, and itself ${lamport}`;
}

/**
 * I14, the audit trail: an order's story rebuilt from the stream alone is the one that the journals tell. Event by event, with
 * its order, service, kind, cause, logical and wall time and a refusal's reason; the same event twice is the same story.
 */
export function sameStory(facts: Facts, { quiet }: CheckOptions): Found {
  if (typeof facts.trail === 'string') return notRead(facts.trail);
  const { events, differences, readAtMs } = facts.trail;
  const lately = ordersCommittedLately(facts, publishGraceMs);
  const violations = [...differences];
  for (let row = 0; row < events.rows; row++) {
    const seen = events.word(row, eventWord.flags);
    if (seen === (inJournal | inStream)) continue;
    if (seen === inStream) violations.push(about(events, row, 'is in the stream, and in no journal'));
    else {
      const ageMs = readAtMs - events.timeOf(row);
      // What is older than the stream keeps is told by the journals alone.
      if (ageMs >= storedAgeMsMax || (!quiet && ageMs <= publishGraceMs)) continue;
      if (!quiet && lately.has(events.uuid(row, eventWord.order))) continue;
      violations.push(about(events, row, 'is in the journal, and not in the stream'));
    }
  }
  return { checked: events.rows, violations };
}

const notRead = (why: string): Found => ({ checked: 0, violations: [], note: `not checked: ${why}` });

const about = (events: EventTable, row: number, detail: string): Violation => {
  const type = typeOf(events.word(row, eventWord.kind));
  const [orderId, id] = [events.uuid(row, eventWord.order), events.uuid(row, eventWord.id)];
  return { orderId, detail: `${type} ${id} ${detail}` };
};
