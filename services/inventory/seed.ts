import { dishes } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { stock } from './schema.ts';

/** Asked first: an insert that conflicts would wait for a row that stands in doubt. */
export async function seed(tx: Tx): Promise<void> {
  if ((await tx.select().from(stock).limit(1)).length > 0) return;
  const rows = dishes.map((dish) => ({ ...dish, free: dish.stock, reserved: 0 }));
  await tx.insert(stock).values(rows).onConflictDoNothing();
}
