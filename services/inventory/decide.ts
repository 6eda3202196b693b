import type { Items } from '#libs/contracts/orders.ts';
import { done, type Outcome, refused } from '#libs/step/step.ts';

export type Reserve = { orderId: string; items: Items };

/** Reserves in the order they came: all of an order's items or none of them. Touches nothing. */
export function decideReservations(
  free: ReadonlyMap<string, number>,
  reserves: readonly Reserve[],
): Outcome<Record<string, never>>[] {
  const left = new Map(free);
  return reserves.map(({ items }) => {
    for (const { dishId, quantity } of items) {
      const portions = left.get(dishId);
      if (portions === undefined) return refused(`unknown dish ${dishId}`);
      if (portions < quantity) return refused(`out of stock: ${dishId}`);
    }
    for (const { dishId, quantity } of items) left.set(dishId, (left.get(dishId) ?? 0) - quantity);
    return done({});
  });
}
