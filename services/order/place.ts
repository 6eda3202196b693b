/** Takes an order in: refuses what cannot be, prices it from the menu, and asks the driver to place it. */
import { createHash, randomUUIDv7 } from 'node:crypto';
import { type Order, type PlaceOrderBody, paise, placeOrderBody } from '#libs/contracts/orders.ts';
import type { HandedOver } from '#libs/contracts/placing.ts';
import { type FieldError, Problem } from '#libs/contracts/problems.ts';
import { writeOrderFaults } from '#libs/faults/order-faults.ts';
import { faultFlaw } from '#libs/faults/points.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { parse } from '#libs/service/http.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import { dishIdsOf } from './cause.ts';
import type { Menu } from './menu.ts';

export type Placed = { accepted: Order; bodyHash: string | null; repeated: boolean };

export async function placeOrder(
  { config, request }: ServiceContext,
  menu: Menu,
  { orderId, keyed, traceparent, body }: HandedOver,
): Promise<Placed> {
  const wanted = parse(placeOrderBody, body);
  refuseWhatCannotBe(config.FAULTS, menu, wanted);
  const { customerId, city, items, protocol } = wanted;
  const total = priceOf(menu, wanted);
  const faults = writeOrderFaults(wanted.faults);
  // Only a repeat under a key is compared with what came first.
  const bodyHash = keyed ? createHash('sha256').update(JSON.stringify(wanted)).digest('base64url') : null;
  const createdAt = new Date();
  const deadline = new Date(createdAt.getTime() + config.ORDER_DEADLINE_MS);

  const verdict = await request('request:place-order', {
    id: randomUUIDv7(),
    orderId,
    customerId,
    dishIds: dishIdsOf(items),
    traceparent,
    faults,
    data: { customerId, city, items, total, traceparent, faults, bodyHash, createdAt, deadline },
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

function refuseWhatCannotBe(
  faultsOn: boolean,
  menu: Menu,
  { city, items, faults, protocol }: PlaceOrderBody,
): void {
  if (protocol !== 'saga')
    throw new Problem('protocol-not-available', undefined, field('protocol', 'only saga'));
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
  if (paise.safeParse(total).success) return total;
  throw new Problem('order-too-large', undefined, field('items', 'too much'));
}

const field = (name: string, message: string) => ({ errors: [{ field: name, message }] });
