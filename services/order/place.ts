/** Takes an order in: refuses what cannot be, prices it from the menu, and asks the driver to place it. */
import { createHash, randomUUIDv7 } from 'node:crypto';
import { type Order, type PlaceOrderBody, paise } from '#libs/contracts/orders.ts';
import { type FieldError, Problem } from '#libs/contracts/problems.ts';
import { writeOrderFaults } from '#libs/faults/order-faults.ts';
import { faultFlaw } from '#libs/faults/points.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { currentTraceparent, traceIdOf } from '#libs/telemetry/trace-context.ts';
import { dishIdsOf } from './cause.ts';
import type { Menu } from './menu.ts';

export type Placed = { bodyHash: string; accepted: Order; repeated: boolean };

export async function placeOrder(
  { config, request }: ServiceContext,
  menu: Menu,
  body: PlaceOrderBody,
  orderId: string,
): Promise<Placed> {
  refuseWhatCannotBe(config.FAULTS, menu, body);
  const total = priceOf(menu, body);
  const bodyHash = createHash('sha256').update(JSON.stringify(body)).digest('base64url');
  const traceparent = currentTraceparent();
  const createdAt = new Date();
  const { customerId, city, items, protocol } = body;

  const verdict = await request('request:place-order', {
    id: randomUUIDv7(),
    orderId,
    customerId,
    dishIds: dishIdsOf(items),
    traceparent,
    faults: writeOrderFaults(body.faults),
    data: {
      customerId,
      city,
      items,
      total,
      traceparent,
      faults: writeOrderFaults(body.faults),
      bodyHash,
      createdAt,
      deadline: new Date(createdAt.getTime() + config.ORDER_DEADLINE_MS),
    },
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
  return { bodyHash, accepted, repeated: verdict.standing === 'repeat' };
}

/**
 * The order's id under an Idempotency-Key: the same key is the same order, so the journal, which lets an
 * order be placed once, is all the memory that idempotency needs. A UUIDv8 (RFC 9562 §5.8) of SHA-256.
 */
export function orderIdOf(idempotencyKey: string): string {
  const hash = createHash('sha256').update(`saga-lab order ${idempotencyKey}`).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}

function refuseWhatCannotBe(
  faultsOn: boolean,
  menu: Menu,
  { city, items, faults, protocol }: PlaceOrderBody,
) {
  if (protocol !== 'saga') {
    throw new Problem('protocol-not-available', 'this lab runs the saga so far', {
      errors: [{ field: 'protocol', message: 'only saga' }],
    });
  }
  if (!menu.cities.has(city)) throw new Problem('unknown-city', undefined, field('city', `no city ${city}`));
  const unknown = items.flatMap(({ dishId }, index) =>
    menu.prices.has(dishId) ? [] : [{ field: `items.${index}.dishId`, message: `no dish ${dishId}` }],
  );
  if (unknown.length > 0) throw new Problem('unknown-dish', undefined, { errors: unknown });
  if (faults.length > 0 && !faultsOn) throw new Problem('faults-off');
  const flaws = faults.flatMap((fault, index): FieldError[] => {
    const flaw = faultFlaw(fault);
    return flaw ? [{ field: `faults.${index}`, message: flaw }] : [];
  });
  if (flaws.length > 0) throw new Problem('unknown-fault-point', undefined, { errors: flaws });
}

function priceOf(menu: Menu, { items }: PlaceOrderBody): number {
  let total = 0;
  for (const { dishId, quantity } of items) total += (menu.prices.get(dishId) ?? 0) * quantity;
  if (!paise.safeParse(total).success)
    throw new Problem('order-too-large', undefined, field('items', 'too much'));
  return total;
}

const field = (name: string, message: string) => ({ errors: [{ field: name, message }] });
