import { done, type Outcome, refused } from '#libs/step/step.ts';

export type Assign = { orderId: string; city: string };

/**
 * A courier of the order's city, chosen by the order's id: any courier may carry many orders, so nobody
 * waits for a row, and the same order always draws the same courier. Touches nothing.
 */
export function decideAssignments(
  couriersOf: ReadonlyMap<string, readonly string[]>,
  assigns: readonly Assign[],
): Outcome<{ courierId: string }>[] {
  return assigns.map(({ orderId, city }) => {
    const couriers = couriersOf.get(city) ?? [];
    const courierId = couriers[Number.parseInt(orderId.slice(-8), 16) % couriers.length];
    return courierId ? done({ courierId }) : refused(`no courier in ${city}`);
  });
}
