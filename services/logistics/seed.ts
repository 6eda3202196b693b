import { couriers as labCouriers } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { couriers } from './schema.ts';

export async function seed(tx: Tx): Promise<void> {
  await tx
    .insert(couriers)
    .values([...labCouriers])
    .onConflictDoNothing();
}
