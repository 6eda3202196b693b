/**
 * `GET /api/events`: the saga's events as they are stored, as server-sent events. Nothing of it is kept at the
 * broker, so looking on never takes a message from a service. A listener that comes back with `Last-Event-ID`
 * misses nothing that the stream still holds, also when the stream has lost its tail meanwhile and has grown again: the
 * id says when the message was stored.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import { eventsHeaders, eventsQuery } from '#libs/contracts/answers.ts';
import { parseEvent } from '#libs/contracts/events.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, parse } from '#libs/service/http.ts';
import { createEventTail, type EventTail, type TailMessage } from './event-tail.ts';

const listenersMax = 32;
const heartbeatMs = 15_000;
/** How soon a browser comes back when its stream ends. */
const retryMs = 1_000;
/** A listener that does not read for so long is dropped; until then nothing is read for it. */
const drainMsMax = 10_000;

/** The place of an event: the stream's sequence of its message, its index there, and when the message was stored. */
type Place = { sequence: number; index: number; storedAtMs: number | undefined };

export function eventRoutes(app: FastifyInstance, connection: NatsConnection): void {
  const tail = createEventTail(connection);
  const listeners = new Set<() => void>();
  let openCount = 0;
  // Streams never end by themselves, and closing waits for every answer.
  app.addHook('preClose', async () => {
    for (const stop of listeners) stop();
  });

  app.get('/api/events', async (request, reply) => {
    const { orderId } = parse(eventsQuery, request.query);
    const after = readPlace(request.headers);
    if (openCount >= listenersMax) {
      throw new Problem('service-unavailable', `${listenersMax} listeners are here already`);
    }
    openCount += 1;
    try {
      const leaving = new AbortController();
      const { raw } = reply;
      raw.once('close', () => leaving.abort());
      // Before the answer begins: what is said after that is heard.
      const from = await beginning(tail, after).catch(() => null);
      const messages = readPatiently(tail, after, from, leaving.signal);
      const stop = () => {
        leaving.abort();
        if (raw.writableNeedDrain) raw.destroy();
      };
      listeners.add(stop);
      await tell(reply, messages, after, orderId).finally(() => listeners.delete(stop));
    } finally {
      openCount -= 1;
    }
  });
}

function readPlace(headers: FastifyRequest['headers']): Place | undefined {
  const { 'last-event-id': lastEventId } = parse(eventsHeaders, headers);
  // A browser sends an empty one when it has heard nothing yet.
  if (!lastEventId) return undefined;
  const [sequence, index, storedAtMs] = lastEventId.split('-').map(Number) as [number, number, number?];
  return { sequence, index, storedAtMs };
}

async function beginning(tail: EventTail, after: Place | undefined): Promise<number> {
  const last = await tail.last();
  if (after === undefined || after.sequence === 0) return last + 1;
  if (after.storedAtMs !== undefined) return tail.find(after.sequence, after.storedAtMs);
  // Ids had no time once: of a place beyond the end nothing more can be said.
  return Math.min(after.sequence, last + 1);
}

/** A browser does not come back after any answer but this one: while the broker is away, a listener waits here. */
async function* readPatiently(
  tail: EventTail,
  after: Place | undefined,
  first: number | null,
  signal: AbortSignal,
): AsyncGenerator<TailMessage> {
  let from = first;
  const leaving = new Promise<null>((resolve) =>
    signal.addEventListener('abort', () => resolve(null), { once: true }),
  );
  while (from === null && !signal.aborted) {
    await Promise.race([pause(retryMs), leaving]);
    const asked = beginning(tail, after).catch(() => null);
    from = await Promise.race([asked, leaving]);
  }
  if (from !== null) yield* tail.read(from, signal);
}

/** Writes until the listener leaves, reads too slowly, or the gateway stops. */
async function tell(
  reply: FastifyReply,
  messages: AsyncGenerator<TailMessage>,
  after: Place | undefined,
  orderId: string | undefined,
): Promise<void> {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
  });
  raw.write(`retry: ${retryMs}\n\n`);
  const heartbeat = setInterval(() => {
    if (!raw.writableNeedDrain) raw.write(': alive\n\n');
  }, heartbeatMs);
  let rest = after;
  try {
    for await (const message of messages) {
      const text = writeEvents(message, isBehind(message, rest) ? rest.index + 1 : 0, orderId);
      // Its sequence may come again, for another message.
      rest = undefined;
      if (text !== '' && !raw.write(text) && !(await drained(raw))) break;
    }
  } catch (error) {
    reply.log.warn({ err: error }, 'a listener was cut off; it comes back by itself');
  } finally {
    clearInterval(heartbeat);
    raw.end();
  }
}

/** Whether this is the message that the listener has heard a part of. */
const isBehind = ({ sequence, storedAtMs }: TailMessage, after: Place | undefined): after is Place =>
  sequence === after?.sequence && storedAtMs === (after.storedAtMs ?? storedAtMs);

/** The events of one message in the form of SSE. What no schema accepts is none of ours, and is left out. */
function writeEvents(message: TailMessage, skipTo: number, orderId: string | undefined): string {
  const { sequence, storedAtMs, body } = message;
  let text = '';
  for (const [index, candidate] of readBatch(body).entries()) {
    if (index < skipTo) continue;
    if (orderId !== undefined && (candidate as { subject?: unknown } | null)?.subject !== orderId) continue;
    const parsed = parseEvent(candidate);
    if (!parsed.ok) continue;
    const { event } = parsed;
    text += `id: ${sequence}-${index}-${storedAtMs}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
  }
  return text;
}

function readBatch(body: string): unknown[] {
  try {
    const batch: unknown = JSON.parse(body);
    return Array.isArray(batch) ? batch : [];
  } catch (error) {
    // The services dead-letter it with its reason; here it is only not shown.
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

/** False when the listener has gone or has not read for too long; then it is cut off. */
async function drained(raw: FastifyReply['raw']): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const yes = () => resolve(true);
  const no = () => resolve(false);
  const timer = setTimeout(no, drainMsMax);
  raw.once('drain', yes).once('close', no);
  const isDrained = await promise;
  clearTimeout(timer);
  raw.off('drain', yes).off('close', no);
  if (!isDrained) raw.destroy();
  return isDrained;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
