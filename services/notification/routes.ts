import { and, desc, eq, lt } from 'drizzle-orm';
import { notificationListQuery } from '#libs/contracts/orders.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { notifications } from './schema.ts';

export function routes(app: FastifyInstance, { db }: ServiceContext): void {
  app.get('/notifications', async (request) => {
    const { cursor, orderId, limit } = parse(notificationListQuery, request.query);
    const rows = await db
      .select()
      .from(notifications)
      .where(
        and(
          orderId ? eq(notifications.orderId, orderId) : undefined,
          cursor ? lt(notifications.notificationId, cursor) : undefined,
        ),
      )
      // The id is a UUIDv7, so it sorts by time.
      .orderBy(desc(notifications.notificationId))
      .limit(limit + 1);
    return page(rows, limit, (row) => row.notificationId);
  });
}
