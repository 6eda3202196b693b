/**
 * Between the gateway and who takes orders in (the order service for the saga, the coordinator for 2PC): they
 * are handed over in batches, as they arrive. The gateway gives each its id, which is its idempotency; the
 * body passes unread, because who takes it in parses it.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Order, PlaceOrderBody } from './orders.ts';
import type { Problem } from './problems.ts';

export const handoverMax = 100;
/** Of an order's body, as it came and as it is handed over: one that is longer is refused alone, before it is in a batch. */
export const orderBytesMax = 64 * 1024;
/** Around the body: its id and its trace. */
const envelopeBytesMax = 1024;
/** So that a full batch of the longest ones is taken in. */
export const handoverBytesMax = handoverMax * (orderBytesMax + envelopeBytesMax);

export const handover = z.strictObject({
  orders: z
    .array(
      z.strictObject({
        orderId: z.uuid(),
        /** Whether the id comes from an Idempotency-Key: then a repeat must bring the same body. */
        keyed: z.boolean(),
        traceparent: z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/),
        body: z.unknown(),
      }),
    )
    .min(1)
    .max(handoverMax),
});
export type Handover = z.output<typeof handover>;
export type HandedOver = Handover['orders'][number];

/** One per order, in order. `current` is the order as it stands when this was a repeat. */
export type HandoverAnswer =
  | { accepted: Order; current: Order | null }
  | { problem: ReturnType<Problem['toBody']> };

/** The coordinator's answer, one per order as it ends. */
export type FinishedAnswer =
  | { finished: Order; replayed: boolean }
  | { problem: ReturnType<Problem['toBody']> };

/** Kept of a body that came with an Idempotency-Key: a repeat must have the same. */
export const bodyHashOf = (body: PlaceOrderBody): string =>
  createHash('sha256').update(JSON.stringify(body)).digest('base64url');
