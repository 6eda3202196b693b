import type { Items } from '#libs/contracts/orders.ts';
import { done, type Outcome, refused } from '#libs/step/step.ts';
import { sumBy } from '#libs/step/sum.ts';

export type Reserve = { orderId: string; items: Items };

/** Reserves in the order they came: all of an order's items or none of them. Touches nothing. */
export function decideReservations(
  free: ReadonlyMap<string, number>,
  reserves: readonly Reserve[],
): Outcome<Record<string, never>>[] {
  const left = new Map(free);
  return reserves.map(({ items }) => {
    // A dish may stand in two lines of an event: what counts is their sum.
    const wanted = sumBy(
      items,
      ({ dishId }) => dishId,
      ({ quantity }) => quantity,
    );
    for (const [dishId, quantity] of wanted) {
      const portions = left.get(dishId);
      if (portions === undefined) return refused(`unknown dish ${dishId}`);
      if (portions < quantity) return refused(`out of stock: ${dishId}`);
    }
    for (const [dishId, quantity] of wanted) left.set(dishId, (left.get(dishId) ?? 0) - quantity);
    return done({});
  });
}
