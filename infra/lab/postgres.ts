import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { systemCode } from './errors.ts';
import { postgresBinary } from './postgres-install.ts';
import { connectionsFor, preparedFor } from './postgres-limits.ts';
import { ensureDatabase, type Passwords, superuser } from './postgres-roles.ts';
import { endProcess } from './process.ts';
import { postgresProcesses } from './process-table.ts';
import type { PartSpec } from './supervisor.ts';
import { databasePart } from './topology.ts';
import type { ServerUser } from './user.ts';

export type DatabaseServer = {
  spec: PartSpec;
  url: string;
  auditUrl: string;
  /** Makes the roles and the database; does nothing when they are there. */
  ensure: () => Promise<void>;
};

const orphansGoneWithinMs = 10_000;
const orphansPollMs = 30;
const connectWithinMs = 2_000;

/** Sized so that six servers stay far below a gigabyte, and honest about durability. */
const settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '32MB',
  max_wal_size: '1GB',
  checkpoint_timeout: '15min',
  timezone: 'UTC',
  log_timezone: 'UTC',
} as const;

/** What every replica of a service, and of the coordinator, adds to. */
const limits = (clients: number) => ({
  max_connections: String(connectionsFor(clients)),
  max_prepared_transactions: String(preparedFor(clients)),
});

export function databaseServer(
  directory: string,
  user: ServerUser,
  name: string,
  port: number,
  passwords: Passwords,
  /** Processes that share it. */
  clients = 1,
): DatabaseServer {
  const data = join(directory, name);
  const configured = Object.entries({ ...settings, ...limits(clients), port: String(port) });
  const options = configured.flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const binary = postgresBinary('postgres');
  const [command = binary, ...args] = [...user.prefix, binary, '-D', data, ...options];
  const urlOf = (role: string, password: string, database: string) =>
    `postgres://${role}:${password}@127.0.0.1:${port}/${database}`;
  const adminUrl = urlOf(superuser, passwords.superuser, 'postgres');
  return {
    url: urlOf(name, passwords.roles[name] ?? '', name),
    auditUrl: urlOf('auditor', passwords.auditor, name),
    ensure: () => ensureDatabase(adminUrl, name, passwords),
    spec: {
      name: databasePart(name),
      kind: 'database',
      port,
      command,
      args,
      env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' },
      cwd: '/',
      // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
      stopSignal: 'SIGINT',
      beforeStart: () => clearLastLife(data),
      isReady: () => accepts(adminUrl),
    },
  };
}

/**
 * After a kill the file postmaster.pid stays, and its pid may be a zombie or another program by now:
 * PostgreSQL would refuse to start. It may go once no postgres works in the data directory any more.
 */
async function clearLastLife(data: string): Promise<void> {
  const file = join(data, 'postmaster.pid');
  const orphans = () => postgresProcesses(data, postmasterPid(file));
  const deadline = Date.now() + orphansGoneWithinMs;
  // Backends notice the death of their postmaster by themselves, within milliseconds unless they are stopped.
  while (orphans().length > 0 && Date.now() < deadline) await delay(orphansPollMs);
  await Promise.all(orphans().map((orphan) => endProcess(orphan, 'SIGKILL', orphansGoneWithinMs)));
  rmSync(file, { force: true });
}

function postmasterPid(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8').split('\n')[0]) || undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

export async function accepts(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: connectWithinMs });
  client.on('error', () => undefined); // A server that goes down at this moment is simply not ready.
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false; // Refused or still starting up: "not yet", and the caller has the bound.
  } finally {
    await client.end().catch(() => undefined); // The connection may never have stood.
  }
}
