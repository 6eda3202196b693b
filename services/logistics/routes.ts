import { and, asc, count, eq, gt } from 'drizzle-orm';
import { listQuery } from '#libs/contracts/orders.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { assignments, couriers } from './schema.ts';

export function routes(app: FastifyInstance, { db }: ServiceContext): void {
  app.get('/couriers', async (request) => {
    const { cursor = '', limit } = parse(listQuery, request.query);
    const rows = await db
      .select({
        courierId: couriers.courierId,
        name: couriers.name,
        city: couriers.city,
        assigned: count(assignments.orderId),
      })
      .from(couriers)
      .leftJoin(
        assignments,
        and(eq(assignments.courierId, couriers.courierId), eq(assignments.status, 'assigned')),
      )
      .where(gt(couriers.courierId, cursor))
      .groupBy(couriers.courierId)
      .orderBy(asc(couriers.courierId))
      .limit(limit + 1);
    return page(rows, limit, (row) => row.courierId);
  });
}
