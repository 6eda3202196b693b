/** Takes an order in: refuses what cannot be, prices it from the menu, and asks the driver to place it. */
import { randomUUIDv7 } from 'node:crypto';
import { dishIdsOf, type Order, placeOrderBody } from '#libs/contracts/orders.ts';
import { bodyHashOf, type HandedOver } from '#libs/contracts/placing.ts';
import { type Menu, priceOf, refuseWhatCannotBe } from '#libs/contracts/pricing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { writeOrderFaults } from '#libs/faults/order-faults.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { parse } from '#libs/service/http.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';

export type Placed = { accepted: Order; bodyHash: string | null; repeated: boolean };

export async function placeOrder(
  { config, request, isOutboxFull }: ServiceContext,
  menu: Menu,
  /** By the database's clock. */
  now: Date,
  { orderId, keyed, traceparent, body }: HandedOver,
): Promise<Placed> {
  // Before anything else: this is to cost next to nothing when there is too much.
  if (isOutboxFull()) throw new Problem('overloaded', 'accepted orders wait for the broker');
  const wanted = parse(placeOrderBody, body);
  if (wanted.protocol !== 'saga') throw new Error('an order of the coordinator came to the order service');
  refuseWhatCannotBe(config.FAULTS, menu, wanted);
  const { customerId, city, items, protocol } = wanted;
  const total = priceOf(menu, wanted);
  const faults = writeOrderFaults(wanted.faults);
  // Only a repeat under a key is compared with what came first.
  const bodyHash = keyed ? bodyHashOf(wanted) : null;
  const createdAt = new Date();
  const deadline = new Date(now.getTime() + config.ORDER_DEADLINE_MS);

  const verdict = await request('request:place-order', {
    id: randomUUIDv7(),
    orderId,
    customerId,
    dishIds: dishIdsOf(items),
    traceparent,
    faults,
    data: { protocol, customerId, city, items, total, traceparent, faults, bodyHash, createdAt, deadline },
  });
  if (verdict.outcome?.outcome === 'refused') throw new Problem('order-refused', verdict.outcome.reason);

  const accepted: Order = {
    orderId,
    status: 'PENDING',
    protocol,
    customerId,
    city,
    items,
    total,
    reason: null,
    traceId: traceIdOf(traceparent),
    createdAt: createdAt.toISOString(),
    endedAt: null,
  };
  return { accepted, bodyHash, repeated: verdict.standing === 'repeat' };
}
