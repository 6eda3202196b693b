import { dishes } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { stock } from './schema.ts';

export async function seed(tx: Tx): Promise<void> {
  const rows = dishes.map((dish) => ({ ...dish, free: dish.stock, reserved: 0 }));
  await tx.insert(stock).values(rows).onConflictDoNothing();
}
