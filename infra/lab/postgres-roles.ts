import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import pg from 'pg';
import { systemCode } from './errors.ts';

export const superuser = 'postgres';

export type Passwords = {
  superuser: string;
  auditor: string;
  roles: Record<string, string>;
  /** Of the broker's users. */
  broker: Record<string, string>;
};

/** Reads the passwords of this home, and makes the ones that are missing. Only the owner may read the file. */
export function passwordsOf(
  file: string,
  roles: readonly string[],
  brokerUsers: readonly string[] = [],
): Passwords {
  const kept = read(file);
  const passwords: Passwords = {
    superuser: kept?.superuser ?? randomPassword(),
    auditor: kept?.auditor ?? randomPassword(),
    roles: Object.fromEntries(roles.map((role) => [role, kept?.roles?.[role] ?? randomPassword()])),
    broker: Object.fromEntries(brokerUsers.map((user) => [user, kept?.broker?.[user] ?? randomPassword()])),
  };
  writeFileSync(file, `${JSON.stringify(passwords, null, 2)}\n`, { mode: 0o600 });
  return passwords;
}

/** The owner's session may run on; one that asks for more time does so itself, as the pools do for less. */
const ownerTimeouts = {
  statement_timeout: '60s',
  lock_timeout: '10s',
  idle_in_transaction_session_timeout: '60s',
};
/** The checker reads everything in one snapshot, and waits for nobody. */
const auditorTimeouts = {
  statement_timeout: '60s',
  lock_timeout: '5s',
  idle_in_transaction_session_timeout: '120s',
};

/**
 * The owner can do everything with its own database and nothing else; the auditor reads its tables and
 * writes nothing, which is what the checker of the invariants needs; nobody else may even connect.
 */
export async function ensureDatabase(adminUrl: string, name: string, passwords: Passwords): Promise<void> {
  const owner = pg.escapeIdentifier(name);
  await withClient(adminUrl, async (client) => {
    await ensureRole(client, name, passwords.roles[name] ?? '', ownerTimeouts);
    await ensureRole(client, 'auditor', passwords.auditor, auditorTimeouts);
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    // CREATE DATABASE cannot run in a transaction, so each statement here is safe to repeat by itself.
    if (found.rowCount === 0) await client.query(`create database ${owner} owner ${owner}`);
    for (const database of [name, 'postgres', 'template1']) {
      await client.query(`revoke all on database ${pg.escapeIdentifier(database)} from public`);
    }
    await client.query(`grant connect on database ${owner} to auditor`);
    await client.query('grant pg_read_all_stats to auditor');
    // It reads the verifiers of all passwords as well; older labs granted it.
    await client.query('revoke pg_read_all_data from auditor');
    await client.query('alter role auditor set default_transaction_read_only = on');
  });
  const there = new URL(adminUrl);
  there.pathname = `/${name}`;
  await withClient(there.href, async (client) => {
    await client.query('grant select on all tables in schema public to auditor');
    const later = `alter default privileges for role ${owner} in schema public`;
    await client.query(`${later} grant select on tables to auditor`);
  });
}

async function withClient(url: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** Rights and timeouts are set every time: the role may be of an older lab, or somebody may have loosened it. */
async function ensureRole(
  client: pg.Client,
  name: string,
  password: string,
  timeouts: Record<string, string>,
): Promise<void> {
  const found = await client.query('select 1 from pg_roles where rolname = $1', [name]);
  const role = pg.escapeIdentifier(name);
  const attributes = 'login nosuperuser nocreatedb nocreaterole noreplication nobypassrls';
  if (found.rowCount === 0) await client.query(`create role ${role} password ${pg.escapeLiteral(password)}`);
  await client.query(`alter role ${role} ${attributes}`);
  for (const [setting, value] of Object.entries(timeouts)) {
    await client.query(`alter role ${role} set ${setting} = ${pg.escapeLiteral(value)}`);
  }
}

/** Hexadecimal, so that it stands in a URL as it is; the letter keeps the broker from reading a number. */
const randomPassword = (): string => `p${randomBytes(18).toString('hex')}`;

/** Of an older lab, some may be missing. */
function read(file: string): Partial<Passwords> | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Partial<Passwords>;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
