/** What was set aside because it could not be handled, and undos that fail again and again, over HTTP. */
import { z } from 'zod';
import { serviceNames } from './events.ts';
import { listOf } from './orders.ts';

export const letterStates = ['open', 'replayed', 'discarded'] as const;
export type LetterState = (typeof letterStates)[number];

const timestamp = z.iso.datetime();

/** As a list shows it: without what the message held, which may be large. */
export const deadLetterItem = z.object({
  /** `payment:01996f7e-…`: the service, and its own id of the letter. */
  id: z.string(),
  service: z.enum(serviceNames),
  state: z.enum(letterStates),
  reason: z.string(),
  /** Failed attempts, replays included. */
  attempts: z.int(),
  subject: z.string(),
  /** Null, with the next two: nobody could read whose it is. */
  orderId: z.uuid().nullable(),
  step: z.string().nullable(),
  traceId: z.string().nullable(),
  messageId: z.string(),
  firstAt: timestamp,
  lastAt: timestamp,
  settledAt: timestamp.nullable(),
});
export type DeadLetterItem = z.output<typeof deadLetterItem>;

export const deadLetter = deadLetterItem.extend({
  traceparent: z.string().nullable(),
  /** As they came with the message. */
  headers: z.record(z.string(), z.string()),
  /** A message that holds the event alone, or the whole message as it came. */
  body: z.string(),
});
export type DeadLetter = z.output<typeof deadLetter>;

/** `applied`: it took effect now. `repeat`: the journal knew it, or bars it, and nothing happened. */
export const replayEffects = ['applied', 'repeat'] as const;
export const replayed = deadLetter.extend({ effects: z.array(z.enum(replayEffects)) });
export type Replayed = z.output<typeof replayed>;

export const deadLetterQuery = z.strictObject({
  /** The id of the last letter shown, without its service. */
  cursor: z.uuid().optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  state: z.enum([...letterStates, 'all']).default('open'),
});
/** Of the gateway. */
export const deadLettersQuery = deadLetterQuery.extend({ service: z.enum(serviceNames).optional() });

/** An undo that has failed so often that somebody should look; it is tried again all the same, for ever. */
export const stuckUndo = z.object({
  service: z.enum(serviceNames),
  orderId: z.uuid(),
  step: z.string(),
  subject: z.string(),
  attempts: z.int(),
  reason: z.string(),
  traceId: z.string().nullable(),
  firstAt: timestamp,
  lastAt: timestamp,
});
export type StuckUndo = z.output<typeof stuckUndo>;

/** Which services could not be asked. */
const missing = { missing: z.array(z.string()) };
export const deadLetterList = listOf(deadLetterItem).extend(missing);
export const stuckList = listOf(stuckUndo).extend(missing);

/** Where a page of letters ends. UUIDv7s are in the order of the first failures, as far as clocks are right. */
export const letterKey = ({ id }: Pick<DeadLetterItem, 'id'>): string => id.slice(id.indexOf(':') + 1);

/** `service:id`, or nothing. */
export function readLetterId(
  text: string,
): { service: (typeof serviceNames)[number]; id: string } | undefined {
  const [name = '', id = '', ...more] = text.split(':');
  const service = serviceNames.find((each) => each === name);
  if (!service || more.length > 0 || !z.uuid().safeParse(id).success) return undefined;
  return { service, id };
}

export const letterParams = z.object({ id: z.string().max(100) });
