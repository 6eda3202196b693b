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

/**
 * The owner can do everything with its own database and nothing else; the auditor reads everything and
 * writes nothing, which is what the checker of the invariants needs; nobody else may even connect.
 */
export async function ensureDatabase(adminUrl: string, name: string, passwords: Passwords): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    await ensureRole(client, name, passwords.roles[name] ?? '');
    await ensureRole(client, 'auditor', passwords.auditor);
    const owner = pg.escapeIdentifier(name);
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    // CREATE DATABASE cannot run in a transaction, so each statement here is safe to repeat by itself.
    if (found.rowCount === 0) await client.query(`create database ${owner} owner ${owner}`);
    for (const database of [name, 'postgres', 'template1']) {
      await client.query(`revoke all on database ${pg.escapeIdentifier(database)} from public`);
    }
    await client.query(`grant connect on database ${owner} to auditor`);
    await client.query('grant pg_read_all_data, pg_read_all_stats to auditor');
    await client.query('alter role auditor set default_transaction_read_only = on');
  } finally {
    await client.end();
  }
}

async function ensureRole(client: pg.Client, name: string, password: string): Promise<void> {
  const found = await client.query('select 1 from pg_roles where rolname = $1', [name]);
  if (found.rowCount !== 0) return;
  const role = pg.escapeIdentifier(name);
  const attributes = 'login nosuperuser nocreatedb nocreaterole noreplication nobypassrls';
  await client.query(`create role ${role} ${attributes} password ${pg.escapeLiteral(password)}`);
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
