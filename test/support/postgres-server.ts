/** One PostgreSQL server for tests of what happens in a database: a container, or embedded by the launcher's own means. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { databaseServer } from '#lab/postgres.ts';
import { createMissing, linkLibraries, postgresBinary } from '#lab/postgres-install.ts';
import { passwordsOf } from '#lab/postgres-roles.ts';
import { Supervisor } from '#lab/supervisor.ts';
import { postgresUser } from '#lab/user.ts';
import { freePort } from './free-port.ts';
import type { Infra } from './infra.ts';

export type PostgresServer = {
  /** Of the superuser, who may make databases. The same after a restart. */
  adminUrl: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and takes its data away. */
  remove(): Promise<void>;
};

export async function startPostgres(infra: Infra): Promise<PostgresServer> {
  if (infra === 'embedded') return startEmbedded();
  // Loaded when it is needed: a run without Docker does without the client's packages.
  const { startPostgresContainer } = await import('./postgres-container.ts');
  return startPostgresContainer();
}

const name = 'step';

async function startEmbedded(): Promise<PostgresServer> {
  const home = mkdtempSync(join(tmpdir(), 'saga-step-'));
  const directory = join(home, 'postgres');
  for (const each of ['postgres', 'logs', 'run']) mkdirSync(join(home, each));
  linkLibraries();
  const passwords = passwordsOf(join(home, 'passwords.json'), [name]);
  const user = postgresUser(directory, postgresBinary('postgres'));
  await createMissing(directory, [name], user, passwords.superuser);
  const { spec } = databaseServer(directory, user, name, await freePort(), passwords);
  const supervisor = new Supervisor(spec, { home, say: () => {}, onChange: () => {} });
  await supervisor.start();
  return {
    adminUrl: `postgres://postgres:${passwords.superuser}@127.0.0.1:${spec.port}/postgres`,
    stop: () => supervisor.stop(),
    start: () => supervisor.start(),
    async remove() {
      await supervisor.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
