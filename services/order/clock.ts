/**
 * The time by the database's clock: deadlines are set and looked at by it alone, whatever the clocks of the replicas
 * say. Between two looks it is counted on by the monotonic clock, which nobody sets.
 */
import { sql } from 'drizzle-orm';
import type { ServiceContext } from '#libs/service/definition.ts';

const lookEveryMs = 10_000;

export function createDatabaseClock({ db }: Pick<ServiceContext, 'db'>): () => Promise<Date> {
  let looked: Promise<{ databaseMs: number; atMs: number }> | undefined;
  let lookedAtMs = 0;

  async function look() {
    const { rows } = await db.execute<{ ms: number }>(
      sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
    );
    return { databaseMs: rows[0]?.ms ?? Number.NaN, atMs: performance.now() };
  }

  return async () => {
    if (!looked || performance.now() - lookedAtMs > lookEveryMs) {
      const before = looked;
      lookedAtMs = performance.now();
      looked = look().catch((error) => {
        if (before) return before;
        looked = undefined;
        throw error;
      });
    }
    const { databaseMs, atMs } = await looked;
    return new Date(databaseMs + performance.now() - atMs);
  };
}
