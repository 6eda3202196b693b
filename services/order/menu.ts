/** The menu in memory. It is reference data: what an order may name, and what it costs. */
import type { Menu } from '#libs/contracts/pricing.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { createFresh } from '#libs/service/fresh.ts';
import { cities, menu } from './schema.ts';

const freshMsMax = 10_000;

/** A new dish needs no restart. */
export const createMenu = ({ db }: ServiceContext): (() => Promise<Menu>) =>
  createFresh(freshMsMax, async () => {
    const [dishes, towns] = await Promise.all([db.select().from(menu), db.select().from(cities)]);
    return {
      prices: new Map(dishes.map(({ dishId, price }) => [dishId, price])),
      cities: new Set(towns.map(({ city }) => city)),
    };
  });
