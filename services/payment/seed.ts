import { wallets as labWallets } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { wallets } from './schema.ts';

export async function seed(tx: Tx): Promise<void> {
  await tx
    .insert(wallets)
    .values([...labWallets])
    .onConflictDoNothing();
}
