/** What an order may name and what it costs: asked at the door of both protocols, before anything is changed. */
import { carriedFlaw } from '#libs/faults/points.ts';
import { type PlaceOrderBody, paise } from './orders.ts';
import { type FieldError, Problem } from './problems.ts';

export type Menu = { prices: ReadonlyMap<string, number>; cities: ReadonlySet<string> };

/** A menu on the wire. */
export type MenuAnswer = { prices: [dishId: string, price: number][]; cities: string[] };

/** Throws the problem that names every field that cannot be. */
export function refuseWhatCannotBe(
  faultsOn: boolean,
  menu: Menu,
  { city, items, faults }: PlaceOrderBody,
): void {
  if (!menu.cities.has(city)) throw new Problem('unknown-city', undefined, field('city', `no city ${city}`));
  const unknown = items.flatMap(({ dishId }, index) =>
    menu.prices.has(dishId) ? [] : [{ field: `items.${index}.dishId`, message: `no dish ${dishId}` }],
  );
  if (unknown.length > 0) throw new Problem('unknown-dish', undefined, { errors: unknown });
  if (faults.length > 0 && !faultsOn) throw new Problem('faults-off');
  const flaws = faults.flatMap((fault, index): FieldError[] => {
    const flaw = carriedFlaw(fault);
    return flaw ? [{ field: `faults.${index}`, message: flaw }] : [];
  });
  if (flaws.length > 0) throw new Problem('unknown-fault-point', undefined, { errors: flaws });
}

/** Paise. */
export function priceOf(menu: Menu, { items }: PlaceOrderBody): number {
  let total = 0;
  for (const { dishId, quantity } of items) total += (menu.prices.get(dishId) ?? 0) * quantity;
  if (paise.safeParse(total).success) return total;
  throw new Problem('order-too-large', undefined, field('items', 'too much'));
}

const field = (name: string, message: string) => ({ errors: [{ field: name, message }] });
