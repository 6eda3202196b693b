/** Whether each service's migrations make the tables of its schema, judged by drizzle's own snapshots. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { generateDrizzleJson } from 'drizzle-kit/api';
import { serviceNames } from '#libs/contracts/events.ts';

/** Everything that owns tables. */
const owners = [...serviceNames, 'coordinator'] as const;
type Owner = (typeof owners)[number];

const repository = resolve(import.meta.dirname, '../..');
const generateMsMax = 60_000;

export async function driftedServices(): Promise<Owner[]> {
  const drifted = await Promise.all(
    owners.map((service) => isDrifted(service, join(repository, 'services', service, 'migrations'))),
  );
  return owners.filter((_, index) => drifted[index]);
}

/**
 * Compares the schema as it is with the snapshot of the last migration. Running `drizzle-kit generate` would
 * tell the same, but it writes files, asks questions, and exits with 0 when it could not ask them.
 */
export async function isDrifted(service: Owner, migrations: string): Promise<boolean> {
  const schema: Record<string, unknown> = await import(`../../services/${service}/schema.ts`);
  const wanted = generateDrizzleJson(schema, undefined, undefined, 'snake_case');
  const last = readdirSync(join(migrations, 'meta'))
    .filter((name) => name.endsWith('_snapshot.json'))
    .sort()
    .at(-1);
  if (last === undefined) return true;
  const made = JSON.parse(readFileSync(join(migrations, 'meta', last), 'utf8'));
  return !isDeepStrictEqual(withoutIds(JSON.parse(JSON.stringify(wanted))), withoutIds(made));
}

const withoutIds = ({ id: _, prevId: __, ...rest }: Record<string, unknown>) => rest;

/** Adds a migration to the service's folder. Whether it did is to be seen by `driftedServices`. */
export function generateMigrations(service: Owner): void {
  const { status } = spawnSync(process.execPath, ['node_modules/drizzle-kit/bin.cjs', 'generate'], {
    cwd: repository,
    env: { ...process.env, SERVICE: service },
    stdio: 'inherit',
    timeout: generateMsMax,
  });
  if (status !== 0) throw new Error(`drizzle-kit generate ended with ${status} for ${service}`);
}
