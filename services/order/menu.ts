/** The menu in memory. It is reference data: what an order may name, and what it costs. */
import type { Menu } from '#libs/contracts/pricing.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { cities, menu } from './schema.ts';

const freshMsMax = 10_000;

/** Gives the menu, read again when it is older than ten seconds: a new dish needs no restart. */
export function createMenu({ db }: ServiceContext): () => Promise<Menu> {
  let current: Promise<Menu> | undefined;
  let readAt = 0;

  const read = async (): Promise<Menu> => {
    const [dishes, towns] = await Promise.all([db.select().from(menu), db.select().from(cities)]);
    return {
      prices: new Map(dishes.map(({ dishId, price }) => [dishId, price])),
      cities: new Set(towns.map(({ city }) => city)),
    };
  };

  return () => {
    if (!current || Date.now() - readAt > freshMsMax) {
      const before = current;
      readAt = Date.now();
      // A database that is away for a moment does not take the menu away.
      current = read().catch((error) => before ?? Promise.reject(error));
    }
    return current;
  };
}
