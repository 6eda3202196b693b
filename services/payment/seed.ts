import { wallets as labWallets } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { wallets } from './schema.ts';

/** Asked first: an insert that conflicts would wait for a row that stands in doubt. */
export async function seed(tx: Tx): Promise<void> {
  if ((await tx.select().from(wallets).limit(1)).length > 0) return;
  await tx
    .insert(wallets)
    .values([...labWallets])
    .onConflictDoNothing();
}
