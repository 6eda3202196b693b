/** Brings a database to the schema of the code that runs, and fills it. Safe when many replicas start at once. */
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate as runMigrations } from 'drizzle-orm/node-postgres/migrator';
import type pg from 'pg';

/** One number for all services: each has its own database, and the lock is only about that one. */
const migrationLock = 7_261_001;
/** For the replica that is at it: longer than a step may wait for anything. */
const turnMsMax = 120_000;

/**
 * One replica after another, each from the first migration to the end of `fill`: whoever comes second finds everything
 * there, and neither inserts beside the first one nor into what is in use already.
 */
export async function migrate(
  pool: pg.Pool,
  migrationsFolder: string,
  fill: () => Promise<void> = async () => {},
): Promise<void> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query(`set lock_timeout = ${turnMsMax}; set statement_timeout = ${turnMsMax}`);
    await client.query('select pg_advisory_lock($1)', [migrationLock]);
    await client.query('reset lock_timeout; reset statement_timeout');
    await runMigrations(drizzle(client), { migrationsFolder });
    await fill();
  } finally {
    await client.query('select pg_advisory_unlock($1)', [migrationLock]).catch((error: Error) => {
      broken = error;
    });
    client.release(broken);
  }
}
