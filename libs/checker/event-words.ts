/** Events as the words of the table (event-table.ts): from a journal's row, from the stream, and back into text. */
import { crc32 } from 'node:zlib';
import { eventTypeNames, type SagaEvent, type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { CopiedRow } from '#libs/postgres/copy-out.ts';
import { type EventTable, type EventWords, eventWord, readUuid, writeUuid } from './event-table.ts';

/** Of one event: what kind it is, and whose. */
export const kindOf = (type: string, service: string): number =>
  (eventTypeNames.indexOf(type as SagaEvent['type']) << 8) | serviceNames.indexOf(service as ServiceName);
export const typeOf = (kind: number): string => eventTypeNames[kind >> 8] ?? 'no event of ours';

/** Of the journal, for `readEntry`. */
export const entryColumns = 'event_id, order_id, causation_id, lamport, event_type, reason, recorded_at';
export function readEntry(
  row: CopiedRow,
  service: ServiceName,
  kinds: Map<string, number>,
  into: EventWords,
): void {
  const { words } = into;
  row.uuid(0, words, eventWord.id);
  row.uuid(1, words, eventWord.order);
  row.uuid(2, words, eventWord.cause);
  words[eventWord.lamport] = row.int32(3);
  const type = row.text(4);
  const kind = kinds.get(type) ?? kindOf(type, service);
  kinds.set(type, kind);
  words[eventWord.kind] = kind;
  words[eventWord.reason] = row.isNull(5) ? 0 : crc32(row.bytes(5));
  words[eventWord.flags] = 0;
  into.timeMs = row.timeMs(6);
}

export function readTold(event: SagaEvent, into: EventWords): void {
  const { words } = into;
  writeUuid(event.id, words, eventWord.id);
  writeUuid(event.subject, words, eventWord.order);
  writeUuid(event.causationid, words, eventWord.cause);
  words[eventWord.lamport] = event.lamport;
  words[eventWord.kind] = kindOf(event.type, event.source);
  const { reason } = event.data as { reason?: string };
  words[eventWord.reason] = reason === undefined ? 0 : crc32(reason);
  words[eventWord.flags] = 0;
  into.timeMs = Date.parse(event.time);
}

/** Only a refusal has its reason in the journal; an undo has it from what came before. */
export function differenceOf(events: EventTable, row: number, { words, timeMs }: EventWords): string | null {
  const { order, cause, lamport, kind, reason, flags } = eventWord;
  const differs = (from: number, to: number) => events.differs(row, { words, timeMs }, from, to);
  if (!differs(order, reason) && events.timeOf(row) === timeMs && !differs(reason, flags)) return null;
  const bothHaveReasons = events.word(row, reason) !== 0 && words[reason] !== 0;
  const parts = [
    differs(order, cause) && `order ${events.uuid(row, order)} and ${readUuid(words, order)}`,
    differs(cause, lamport) && `cause ${events.uuid(row, cause)} and ${readUuid(words, cause)}`,
    differs(lamport, kind) && `logical time ${events.word(row, lamport)} and ${words[lamport]}`,
    differs(kind, reason) && `${kindText(events.word(row, kind))} and ${kindText(words[kind] ?? 0)}`,
    events.timeOf(row) !== timeMs && `time ${timeText(events.timeOf(row))} and ${timeText(timeMs)}`,
    bothHaveReasons && differs(reason, flags) && 'the reason',
  ].filter((part) => part !== false);
  if (parts.length === 0) return null;
  const which = `${typeOf(events.word(row, kind))} ${events.uuid(row, eventWord.id)}`;
  return `${which} is one thing in the journal and another in the stream: ${parts.join(', ')}`;
}

const timeText = (timeMs: number): string => new Date(timeMs).toISOString();
const kindText = (kind: number): string => `${typeOf(kind)} of ${serviceNames[kind & 0xff]}`;
