/**
 * Between the gateway and the order service: orders are handed over in batches, as they arrive. The gateway
 * gives each its id, which is its idempotency; the body passes unread, because the order service parses it.
 */
import { z } from 'zod';
import type { Order } from './orders.ts';
import type { Problem } from './problems.ts';

export const handoverMax = 100;

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
