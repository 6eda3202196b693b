import { asc, eq, gt } from 'drizzle-orm';
import { dishParams, listQuery } from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { stock } from './schema.ts';

export function routes(app: FastifyInstance, { db }: ServiceContext): void {
  app.get('/stock', async (request) => {
    const { cursor = '', limit } = parse(listQuery, request.query);
    const rows = await db
      .select()
      .from(stock)
      .where(gt(stock.dishId, cursor))
      .orderBy(asc(stock.dishId))
      .limit(limit + 1);
    return page(rows, limit, (row) => row.dishId);
  });

  app.get('/stock/:dishId', async (request) => {
    const { dishId } = parse(dishParams, request.params);
    const [item] = await db.select().from(stock).where(eq(stock.dishId, dishId));
    if (!item) throw new Problem('not-found', `no dish is called ${dishId}`);
    return item;
  });
}
