/** Brings a database to the schema of the code that runs. Safe when many replicas start at once. */
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate as runMigrations } from 'drizzle-orm/node-postgres/migrator';
import type pg from 'pg';

/** One number for all services: each has its own database, and the lock is only about that one. */
const migrationLock = 7_261_001;

export async function migrate(pool: pg.Pool, migrationsFolder: string): Promise<void> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('select pg_advisory_lock($1)', [migrationLock]);
    await runMigrations(drizzle(client), { migrationsFolder });
  } finally {
    await client.query('select pg_advisory_unlock($1)', [migrationLock]).catch((error: Error) => {
      broken = error;
    });
    client.release(broken);
  }
}
