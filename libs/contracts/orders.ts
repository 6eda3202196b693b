/** The shapes of the public HTTP API, once. Amounts are integers in paise, never floats. */
import { z } from 'zod';

/** An amount of money in minor units. The bound keeps every sum of a storm exact in a JavaScript number. */
export const paise = z.int().min(0).max(1_000_000_000);

/** U+0000 is no character for PostgreSQL, and half a surrogate pair none for anybody: neither can be stored. */
const isStorable = (value: string) => !value.includes('\0') && value.isWellFormed();
export const text = (charsMax: number, charsMin = 1) =>
  z.string().min(charsMin).max(charsMax).refine(isStorable, 'holds a character that cannot be stored');

const quantityMax = 50;
const itemsMax = 20;

export const items = z
  .array(z.object({ dishId: text(60), quantity: z.int().min(1).max(quantityMax) }))
  .min(1)
  .max(itemsMax);
export type Items = z.output<typeof items>;
/** As causes, events and fault scopes carry them. */
export const dishIdsOf = (list: Items): string => list.map(({ dishId }) => dishId).join(',');

/**
 * `crash` is SIGKILL of the process itself: whatever supervises it starts it again. What each does stands in
 * docs/faults.md.
 */
export const faultActions = ['refuse', 'error', 'delay', 'crash', 'hang', 'duplicate', 'drop-ack'] as const;

/** A fault that one order carries with it: `{"at":"inventory.reserve","do":"refuse"}`. */
export const orderFault = z.strictObject({
  at: z.string().regex(/^[a-z]+(\.[a-z-]+){1,2}$/, 'expected a fault point such as inventory.reserve'),
  do: z.enum(faultActions),
  /** How long a delay lasts, in milliseconds. */
  ms: z.int().min(1).max(60_000).optional(),
  /** How many attempts it spoils, counted from the first. Of a refusal or a delay: all. */
  times: z.int().min(1).max(20).optional(),
});
export type OrderFault = z.output<typeof orderFault>;

export const orderFaultsMax = 8;
/** All of them as events carry them, with the longest names. */
export const orderFaultsCharsMax = 700;

export const protocols = ['saga', '2pc'] as const;
export type Protocol = (typeof protocols)[number];

/**
 * How the coordinator runs an order. `single`: a global transaction of its own. `grouped`: orders that arrive
 * together share one. `unordered`: single, with all branches at once and no order among them: it deadlocks
 * across databases on hot rows, and is here to be watched.
 */
export const twoPhaseModes = ['single', 'grouped', 'unordered'] as const;
export type TwoPhaseMode = (typeof twoPhaseModes)[number];

export const placeOrderBody = z.strictObject({
  customerId: text(60),
  city: text(60),
  items: items.refine((list) => new Set(list.map((item) => item.dishId)).size === list.length, {
    message: 'a dish may stand in one line only',
  }),
  protocol: z.enum(protocols).default('saga'),
  /** Only with protocol 2pc. */
  twoPhase: z.enum(twoPhaseModes).default('single'),
  faults: z.array(orderFault).max(orderFaultsMax).default([]),
});
export type PlaceOrderBody = z.output<typeof placeOrderBody>;

export const orderStatuses = ['PENDING', 'CONFIRMED', 'DISPATCHED', 'CANCELLING', 'CANCELLED'] as const;
export type OrderStatus = (typeof orderStatuses)[number];
export const endStatuses: readonly OrderStatus[] = ['DISPATCHED', 'CANCELLED'];

export const order = z.object({
  orderId: z.uuid(),
  status: z.enum(orderStatuses),
  protocol: z.enum(protocols),
  customerId: z.string(),
  city: z.string(),
  items,
  total: paise,
  /** Why it was cancelled; null while it stands. */
  reason: z.string().nullable(),
  traceId: z.string(),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
});
export type Order = z.output<typeof order>;

export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export const orderListQuery = z.strictObject({
  status: z.enum(orderStatuses).optional(),
  cursor: text(100, 0).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

export const listQuery = z.strictObject({
  cursor: text(100, 0).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(200),
});

export const notificationListQuery = listQuery.extend({
  orderId: z.uuid().optional(),
  cursor: z.uuid().optional(),
});

export const wallet = z.object({ customerId: z.string(), balance: z.int().min(0) });
export const stockItem = z.object({
  dishId: z.string(),
  name: z.string(),
  price: paise,
  free: z.int().min(0),
  reserved: z.int().min(0),
});
export const courier = z.object({
  courierId: z.string(),
  name: z.string(),
  city: z.string(),
  assigned: z.int().min(0),
});
export const notification = z.object({
  notificationId: z.uuid(),
  orderId: z.uuid(),
  customerId: z.string(),
  kind: z.string(),
  text: z.string(),
  createdAt: z.iso.datetime(),
});

const stepOutcomes = ['done', 'refused', 'empty', 'barred'] as const;

/** One line of an order's story. `type` is null where a step said nothing (a notification, a bar). */
export const timelineItem = z.object({
  lamport: z.int(),
  type: z.string().nullable(),
  service: z.string(),
  step: z.string(),
  outcome: z.enum(stepOutcomes),
  reason: z.string().nullable(),
  attempt: z.int(),
  time: z.iso.datetime(),
  eventId: z.uuid().nullable(),
  causationId: z.uuid().nullable(),
});
export type TimelineItem = z.output<typeof timelineItem>;

export const orderParams = z.object({ orderId: z.uuid() });
export const walletParams = z.object({ customerId: text(60) });
export const dishParams = z.object({ dishId: text(60) });
export const cancelBody = z.strictObject({ reason: text(120).optional() }).default({});
