/**
 * Every event of the order flow, once: its type (which is also its NATS subject), who may say it, and the
 * schema of its data. Both sides parse with these schemas, so a producer cannot drift from its consumers.
 *
 * On the wire: CloudEvents 1.0, JSON batch format (`application/cloudevents-batch+json`). One message holds
 * the events of one type that one transaction decided; every event keeps its own id and trace context.
 */
import { z } from 'zod';
import { items, orderFaultsCharsMax, paise } from './orders.ts';
import { quickCheck } from './quick-check.ts';

const reason = z.string().max(200);
const nothing = z.object({});

export const eventTypes = {
  'order.placement.requested': {
    source: 'order',
    data: z.object({ city: z.string(), items, total: paise }),
  },
  'payment.completed': { source: 'payment', data: z.object({ items }) },
  'payment.failed': { source: 'payment', data: z.object({ reason }) },
  'inventory.reserved': { source: 'inventory', data: nothing },
  'inventory.failed': { source: 'inventory', data: z.object({ reason }) },
  'order.confirmed': { source: 'order', data: z.object({ city: z.string() }) },
  'logistics.assigned': { source: 'logistics', data: z.object({ courierId: z.string() }) },
  'order.dispatched': { source: 'order', data: nothing },
  'logistics.failed': { source: 'logistics', data: z.object({ reason }) },
  'order.cancellation.requested': { source: 'order', data: z.object({ reason }) },
  'logistics.unassigned': { source: 'logistics', data: z.object({ reason }) },
  'inventory.released': { source: 'inventory', data: z.object({ reason }) },
  'payment.refunded': { source: 'payment', data: z.object({ reason }) },
  'order.cancelled': { source: 'order', data: z.object({ reason }) },
} as const;

export type EventType = keyof typeof eventTypes;
export type EventData<T extends EventType> = z.output<(typeof eventTypes)[T]['data']>;
export type ServiceName = 'order' | 'payment' | 'inventory' | 'logistics' | 'notification';

export const serviceNames = ['order', 'payment', 'inventory', 'logistics', 'notification'] as const;
export const eventTypeNames = Object.keys(eventTypes) as EventType[];
export const batchContentType = 'application/cloudevents-batch+json';

/** Events of one message at most: keeps a message of full-size orders far below the broker's 1 MB limit. */
export const eventsPerMessageMax = 256;

export const envelope = z.object({
  specversion: z.literal('1.0'),
  id: z.uuid(),
  source: z.string().max(40),
  type: z.string().max(60),
  /** The order's id: the business key of everything. */
  subject: z.uuid(),
  time: z.iso.datetime(),
  data: z.unknown(),
  /** W3C trace context of the span that sent this event. */
  traceparent: z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/),
  /** Only of events that are traced: see libs/telemetry/origin.ts. */
  tracestate: z.string().max(512).optional(),
  /** Id of the event (or of the request) that caused this one. */
  causationid: z.uuid(),
  /** The saga's logical clock (Lamport 1978): 1 + the highest of its causes. */
  lamport: z.int().min(1),
  /** Whose order it is and what of (comma-separated): what filters and fault scopes look at. */
  customerid: z.string().max(60),
  dishids: z.string().max(1_300),
  /** Faults that travel with this order; see libs/faults/order-faults.ts. */
  faults: z.string().max(orderFaultsCharsMax).optional(),
});

export type Envelope = z.output<typeof envelope>;
export type SagaEvent<T extends EventType = EventType> = Omit<Envelope, 'type' | 'data'> & {
  type: T;
  data: EventData<T>;
};

export type ParsedEvent = { ok: true; event: SagaEvent } | { ok: false; reason: string };

function isEventType(type: string): type is EventType {
  return Object.hasOwn(eventTypes, type);
}

const isWhole = new Map<unknown, (event: unknown) => boolean>();
const isData = new Map<EventType, (data: unknown) => boolean>();
for (const type of eventTypeNames) {
  const { source, data } = eventTypes[type];
  isWhole.set(type, quickCheck(envelope.extend({ type: z.literal(type), source: z.literal(source), data })));
  isData.set(type, quickCheck(data));
}

/** Parses one element of a batch. A refusal names the field, so that a dead letter explains itself. */
export function parseEvent(candidate: unknown): ParsedEvent {
  if (isWhole.get((candidate as Partial<Envelope> | null)?.type)?.(candidate)) {
    return { ok: true, event: candidate as SagaEvent };
  }
  const parsed = envelope.safeParse(candidate);
  if (!parsed.success) return { ok: false, reason: firstIssue(parsed.error) };
  const { type, source } = parsed.data;
  if (!isEventType(type)) return { ok: false, reason: `type: no event is called ${type}` };
  const definition = eventTypes[type];
  if (source !== definition.source) return { ok: false, reason: `source: ${type} is not ${source}'s to say` };
  const data = definition.data.safeParse(parsed.data.data);
  if (!data.success) return { ok: false, reason: `data.${firstIssue(data.error)}` };
  return { ok: true, event: { ...parsed.data, type, data: data.data } as SagaEvent };
}

/** The data of an event that is about to be said: what does not fit throws. */
export function parseData<T extends EventType>(type: T, data: unknown): EventData<T> {
  if (isData.get(type)?.(data)) return data as EventData<T>;
  return eventTypes[type].data.parse(data) as EventData<T>;
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue ? `${issue.path.join('.') || '(whole)'}: ${issue.message}` : 'invalid';
}
