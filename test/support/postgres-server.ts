/** One embedded PostgreSQL server, by the launcher's own means, for tests of what happens in a database. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { databaseServer } from '#lab/postgres.ts';
import { createMissing, linkLibraries, postgresBinary } from '#lab/postgres-install.ts';
import { passwordsOf } from '#lab/postgres-roles.ts';
import { Supervisor } from '#lab/supervisor.ts';
import { postgresUser } from '#lab/user.ts';

export type PostgresServer = {
  /** Of the superuser, who may make databases. */
  adminUrl: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and takes its data away. */
  remove(): Promise<void>;
};

const name = 'step';

export async function startPostgres(): Promise<PostgresServer> {
  const home = mkdtempSync(join(tmpdir(), 'saga-step-'));
  const directory = join(home, 'postgres');
  for (const each of ['postgres', 'logs', 'run']) mkdirSync(join(home, each));
  linkLibraries();
  const passwords = passwordsOf(join(home, 'passwords.json'), [name]);
  const user = postgresUser(directory, postgresBinary('postgres'));
  await createMissing(directory, [name], user, passwords.superuser);
  const port = await freePort();
  const { spec } = databaseServer(directory, user, name, port, passwords);
  const supervisor = new Supervisor(spec, { home, say: () => {}, onChange: () => {} });
  await supervisor.start();
  return {
    adminUrl: `postgres://postgres:${passwords.superuser}@127.0.0.1:${port}/postgres`,
    stop: () => supervisor.stop(),
    start: () => supervisor.start(),
    async remove() {
      await supervisor.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
