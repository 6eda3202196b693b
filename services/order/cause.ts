/** What a person, or the clock, asks about an order that stands, as a cause for the driver. */
import { randomUUIDv7 } from 'node:crypto';
import { dishIdsOf } from '#libs/contracts/orders.ts';
import type { Cause } from '#libs/step/reaction.ts';
import type { orders } from './schema.ts';

/** Continues the order's own trace and carries its faults, as every event about it does. */
export function causeFor(
  order: typeof orders.$inferSelect,
  reason: string,
): Omit<Cause<{ reason: string }>, 'lamport'> {
  return {
    id: randomUUIDv7(),
    orderId: order.orderId,
    customerId: order.customerId,
    dishIds: dishIdsOf(order.items),
    data: { reason },
    traceparent: order.traceparent,
    faults: order.faults ?? undefined,
  };
}
