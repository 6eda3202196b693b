/**
 * What the checker looks at of each order's story: the events that journals say were said, and those that the stream
 * tells of. The journals' are read first, row by row, into one table (event-table.ts); then every event of the stream
 * is looked up there. What it tells beyond the snapshots was committed meanwhile, or never: it is asked about again.
 */
import type pg from 'pg';
import { parseEvent, type SagaEvent, type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Protocol } from '#libs/contracts/orders.ts';
import { type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';
import type { StreamMessage } from '#libs/nats/read-stream.ts';
import { type CopiedRow, copyOut } from '#libs/postgres/copy-out.ts';
import {
  createEventTable,
  type EventTable,
  type EventWords,
  emptyWords,
  eventWord,
  inJournal,
  inStream,
  readUuid,
} from './event-table.ts';
import { differenceOf, entryColumns, readEntry, readTold, typeOf } from './event-words.ts';
import type { Violation } from './rules.ts';

export type Trail = {
  events: EventTable;
  /** Steps that said nothing. */
  silent: number;
  /** Events that the stream tells otherwise than the journal, or that cannot be read. */
  differences: Violation[];
  /** Of another trace than their order. */
  strangers: readonly Violation[];
  /** Steps that said nothing, and whose cause was never said, or is another order's, or no earlier. */
  causeless: readonly Violation[];
  readAtMs: number;
};
export type TrailOrders = ReadonlyMap<string, { traceId: string; protocol: Protocol }>;
export type Clients = ReadonlyMap<ServiceName, pg.Client>;

/** What came into the stream while the databases were read. */
const lateMax = 100_000;

export async function readTrail(
  clients: Clients,
  orders: TrailOrders,
  readMessages: (take: (message: StreamMessage) => void) => Promise<void>,
): Promise<Trail> {
  const readAtMs = Date.now();
  const events = createEventTable(await countSaid(clients));
  const found = { differences: [], strangers: [], causeless: [] } as Record<string, Violation[]>;
  const { differences = [], strangers = [], causeless = [] } = found;

  await ofEach(clients, (service, client) => {
    const entry = emptyWords();
    const kinds = new Map<string, number>();
    return copyOut(client, `select ${entryColumns} from journal where event_id is not null`, (row) => {
      readEntry(row, service, kinds, entry);
      if (events.find(entry.words) >= 0) {
        differences.push(about(entry, `event ${readUuid(entry.words, 0)} stands in the journals twice`));
      } else events.mark(events.add(entry), inJournal);
    });
  });
  const told = emptyWords();
  await readMessages((message) => {
    for (const event of readEvents(message, differences)) {
      const order = orders.get(event.subject);
      const traceId = event.traceparent.slice(3, 35);
      if (order && order.traceId !== traceId) {
        strangers.push({ orderId: event.subject, detail: strangeTrace(event.type, traceId, order.traceId) });
      }
      readTold(event, told);
      const row = events.find(told.words);
      if (row < 0) events.mark(events.add(told), inStream);
      else matchEvent(events, row, told, inStream, differences);
    }
  });
  let silent = 0;
  await ofEach(clients, (service, client) => {
    const entry = emptyWords();
    return copyOut(client, silentEntries, (row) => {
      silent += 1;
      const detail = wrongCause(row, service, entry, events, orders);
      if (detail !== null) causeless.push(about(entry, detail));
    });
  });
  strangers.push(...(await strangeFailures(clients, orders)));
  return { events, silent, differences, strangers, causeless, readAtMs };
}

/** To be asked once the snapshots are ended: whose journal has meanwhile what only the stream told of. */
export async function findLate(clients: Clients, { events, differences }: Trail): Promise<void> {
  const late = new Map<number, string[]>();
  for (let row = 0; row < events.rows; row++) {
    if (events.word(row, eventWord.flags) !== inStream) continue;
    const service = events.word(row, eventWord.kind) & 0xff;
    const ids = late.get(service) ?? [];
    if (ids.length < lateMax) ids.push(events.uuid(row, eventWord.id));
    late.set(service, ids);
  }
  await ofEach(clients, async (service, client) => {
    const ids = late.get(serviceNames.indexOf(service)) ?? [];
    if (ids.length === 0) return;
    const entry = emptyWords();
    const kinds = new Map<string, number>();
    const among = `event_id = any('{${ids.join()}}'::uuid[])`;
    await copyOut(client, `select ${entryColumns} from journal where ${among}`, (row) => {
      readEntry(row, service, kinds, entry);
      matchEvent(events, events.find(entry.words), entry, inJournal, differences);
    });
  });
}

/** Seen in the journal and in the stream: it must be the same there. */
function matchEvent(
  events: EventTable,
  row: number,
  other: EventWords,
  seenIn: number,
  differences: Violation[],
): void {
  events.mark(row, seenIn);
  const difference = differenceOf(events, row, other);
  if (difference !== null) differences.push(about(other, difference));
}

async function ofEach(
  clients: Clients,
  work: (service: ServiceName, client: pg.Client) => Promise<void>,
): Promise<void> {
  await Promise.all([...clients].map(([service, client]) => work(service, client)));
}

async function countSaid(clients: Clients): Promise<number> {
  let count = 0;
  await ofEach(clients, async (_, client) => {
    const { rows } = await client.query<{ count: number }>(
      'select count(event_id)::int as count from journal',
    );
    count += rows[0]?.count ?? 0;
  });
  return count;
}

function readEvents({ id, sequence, body }: StreamMessage, differences: Violation[]): SagaEvent[] {
  const unreadable = (why: string, orderId: unknown = null) => {
    const detail = `message ${id} at sequence ${sequence} cannot be read: ${why}`;
    differences.push({ orderId: typeof orderId === 'string' ? orderId : null, detail });
    return [];
  };
  let batch: unknown;
  try {
    batch = JSON.parse(body.toString());
  } catch (error) {
    return unreadable((error as Error).message);
  }
  if (!Array.isArray(batch)) return unreadable('no batch of events');
  return batch.flatMap((candidate) => {
    const parsed = parseEvent(candidate);
    return parsed.ok ? parsed.event : unreadable(parsed.reason, candidate?.subject);
  });
}

const silentEntries =
  'select causation_id, order_id, lamport, step, direction from journal where event_id is null';
/** What a person or the clock asks for; of two-phase commit every step of a participant is asked for. */
const askedFor = new Set(['order.place do', 'order.request-cancellation do']);

function wrongCause(
  row: CopiedRow,
  service: ServiceName,
  entry: EventWords,
  events: EventTable,
  orders: TrailOrders,
): string | null {
  const { words } = entry;
  row.uuid(0, words, eventWord.cause);
  row.uuid(1, words, eventWord.order);
  const cause = events.find(words, eventWord.cause);
  const lamport = row.int32(2);
  const said = cause < 0 ? 'no event' : typeOf(events.word(cause, eventWord.kind));
  const because = () =>
    `${row.text(3)} (${row.text(4)}) was caused by ${readUuid(words, eventWord.cause)}, ${said}`;
  if (cause >= 0) {
    if (events.differs(cause, entry, eventWord.order, eventWord.cause))
      return `${because()} of another order`;
    return lamport > events.word(cause, eventWord.lamport) ? null : `${because()} that comes no earlier`;
  }
  if (askedFor.has(`${row.text(3)} ${row.text(4)}`)) return null;
  const isParticipant = participantNames.includes(service as ParticipantName);
  const order = orders.get(readUuid(words, eventWord.order));
  // Of an order that is not in the snapshot nobody knows the protocol; I14 looks after events that nobody said.
  return !order || (isParticipant && order.protocol === '2pc') ? null : because();
}

async function strangeFailures(clients: Clients, orders: TrailOrders): Promise<Violation[]> {
  const found: Violation[] = [];
  await ofEach(clients, async (service, client) => {
    const { rows } = await client.query<{ orderId: string; traceId: string; step: string }>(
      `select order_id as "orderId", substr(traceparent, 4, 32) as "traceId", step from failures
       where order_id is not null and traceparent is not null`,
    );
    for (const { orderId, traceId, step } of rows) {
      const order = orders.get(orderId);
      if (!order || order.traceId === traceId) continue;
      found.push({
        orderId,
        detail: strangeTrace(`the failure of ${service}'s ${step}`, traceId, order.traceId),
      });
    }
  });
  return found;
}

const strangeTrace = (what: string, traceId: string, own: string): string =>
  `${what} is of trace ${traceId}, its order of ${own}`;

const about = ({ words }: EventWords, detail: string): Violation => ({
  orderId: readUuid(words, eventWord.order),
  detail,
});
