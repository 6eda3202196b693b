/**
 * The time by the database's clock: deadlines are set and looked at by it alone, whatever the clocks of the replicas
 * say. Between two looks it is counted on by the monotonic clock, which nobody sets.
 */
import { sql } from 'drizzle-orm';
import type { ServiceContext } from '#libs/service/definition.ts';
import { createFresh } from '#libs/service/fresh.ts';

const lookEveryMs = 10_000;

export function createDatabaseClock({ db }: Pick<ServiceContext, 'db'>): () => Promise<Date> {
  const looked = createFresh(lookEveryMs, async () => {
    // Before the question: a pause on its way makes deadlines late, and never early.
    const atMs = performance.now();
    const { rows } = await db.execute<{ ms: number }>(
      sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
    );
    return { databaseMs: rows[0]?.ms ?? Number.NaN, atMs };
  });

  return async () => {
    const { databaseMs, atMs } = await looked();
    return new Date(databaseMs + performance.now() - atMs);
  };
}
