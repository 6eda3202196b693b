/** A message's body as causes for this service's reactions, and what of it nobody here can read, with the reason. */
import { createHash } from 'node:crypto';
import { parseEvent, type SagaEvent } from '#libs/contracts/events.ts';
import type { Failure } from './failures.ts';
import type { Cause, Reaction } from './reaction.ts';
import { pointOf } from './strike.ts';

/** Where a body came from: of the message itself, or kept of it in a dead letter. */
export type Envelope = { subject: string; messageId: string; headers: Record<string, string> };
export type Readable = { event: SagaEvent; reaction: Reaction };
/** `candidate`: one element of the batch; absent when the message is none. */
export type Unreadable = { candidate?: unknown; reason: string };

export function readMessage(subject: string, body: string, reactions: ReadonlyMap<string, Reaction>) {
  const readable: Readable[] = [];
  const unreadable: Unreadable[] = [];
  let batch: unknown;
  try {
    batch = JSON.parse(body);
  } catch (error) {
    return { readable, unreadable: [{ reason: `not JSON: ${(error as Error).message}` }] };
  }
  if (!Array.isArray(batch)) return { readable, unreadable: [{ reason: 'not a CloudEvents batch' }] };
  for (const candidate of batch) {
    const parsed = parseEvent(candidate);
    const reaction = parsed.ok ? reactions.get(parsed.event.type) : undefined;
    if (!parsed.ok) unreadable.push({ candidate, reason: parsed.reason });
    else if (parsed.event.type !== subject) {
      unreadable.push({ candidate, reason: `type: ${parsed.event.type} came on subject ${subject}` });
    } else if (reaction) readable.push({ event: parsed.event, reaction });
    else unreadable.push({ candidate, reason: `nothing here reacts to ${parsed.event.type}` });
  }
  return { readable, unreadable };
}

export function causeOf(event: SagaEvent): Cause {
  return {
    id: event.id,
    orderId: event.subject,
    customerId: event.customerid,
    dishIds: event.dishids,
    data: event.data,
    lamport: event.lamport,
    traceparent: event.traceparent,
    tracestate: event.tracestate,
    faults: event.faults,
  };
}

/** By the event's id: a message that comes again, even out of another broker's store, holds the same failure. */
export const fingerprintOf = ({ messageId, subject }: Envelope, { event }: Readable): string =>
  hash(`${messageId}\n${subject}\n${event.id}`);

export function failureOf(
  envelope: Envelope,
  { event, reaction }: Readable,
  error: unknown,
  over: Partial<Pick<Failure, 'final' | 'attempts'>> = {},
): Failure {
  return {
    ...storableEnvelope(envelope),
    fingerprint: fingerprintOf(envelope, { event, reaction }),
    direction: reaction.direction,
    step: pointOf({ reaction }),
    orderId: event.subject,
    traceparent: event.traceparent,
    body: storable(JSON.stringify([event])),
    reason: reasonOf(error),
    final: false,
    attempts: 1,
    ...over,
  };
}

/** Nobody can read it, and it will not read better the next time: it is set aside at once. */
export function unreadableFailure(envelope: Envelope, unreadable: Unreadable, whole: string): Failure {
  const body = storable('candidate' in unreadable ? alone(unreadable.candidate, whole) : whole);
  return {
    ...storableEnvelope(envelope),
    fingerprint: hash(`${envelope.messageId}\n${envelope.subject}\n${body}`),
    direction: null,
    step: null,
    orderId: null,
    traceparent: traceparentIn(envelope.headers),
    body,
    reason: reasonOf(unreadable.reason),
    final: true,
    attempts: 1,
  };
}

/** The one element as a message. What is nested too deep can be read, but not written again. */
function alone(candidate: unknown, whole: string): string {
  try {
    return JSON.stringify([candidate]);
  } catch (error) {
    if (error instanceof RangeError) return whole;
    throw error;
  }
}

/** Of a message that nobody can read it is all that can be known, and only when it has the form. */
function traceparentIn({ traceparent }: Record<string, string>): string | null {
  return traceparent !== undefined && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent)
    ? traceparent
    : null;
}

const reasonCharsMax = 500;

export const reasonOf = (error: unknown): string =>
  storable(error instanceof Error ? error.message : String(error)).slice(0, reasonCharsMax);

/** PostgreSQL keeps no U+0000, and UTF-8 no half of a surrogate pair: a letter that cannot be stored would come for ever. */
const storable = (text: string): string => text.toWellFormed().replaceAll('\u0000', '\ufffd');

function storableEnvelope({ subject, messageId, headers }: Envelope): Envelope {
  const entries = Object.entries(headers).map(([name, value]) => [storable(name), storable(value)]);
  return { subject, messageId: storable(messageId), headers: Object.fromEntries(entries) };
}

const hash = (text: string): string => createHash('sha256').update(text).digest('base64url');
