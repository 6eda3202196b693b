import { asc, eq, gt } from 'drizzle-orm';
import { listQuery, walletParams } from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { wallets } from './schema.ts';

export function routes(app: FastifyInstance, { db }: ServiceContext): void {
  app.get('/wallets', async (request) => {
    const { cursor = '', limit } = parse(listQuery, request.query);
    const rows = await db
      .select()
      .from(wallets)
      .where(gt(wallets.customerId, cursor))
      .orderBy(asc(wallets.customerId))
      .limit(limit + 1);
    return page(rows, limit, (row) => row.customerId);
  });

  app.get('/wallets/:customerId', async (request) => {
    const { customerId } = parse(walletParams, request.params);
    const [wallet] = await db.select().from(wallets).where(eq(wallets.customerId, customerId));
    if (!wallet) throw new Problem('not-found', `no wallet belongs to ${customerId}`);
    return wallet;
  });
}
