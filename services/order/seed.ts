import { dishes, cities as labCities } from '#libs/contracts/lab-data.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { cities, menu } from './schema.ts';

export async function seed(tx: Tx): Promise<void> {
  await tx
    .insert(menu)
    .values([...dishes])
    .onConflictDoNothing();
  await tx
    .insert(cities)
    .values(labCities.map((city) => ({ city })))
    .onConflictDoNothing();
}
