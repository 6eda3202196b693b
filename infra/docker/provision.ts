/**
 * Runs once at every start of the containers, after databases and broker are there and before any service: roles,
 * databases, streams and consumers. Everything here may be repeated; it alone has the rights to do so.
 */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { ensureDatabase } from '../lab/postgres-roles.ts';
import { provisionBroker } from '../nats/provision.ts';
import type { Provisioning } from './containers.ts';

const read = (name: string): string => {
  const file = process.env[name];
  if (file === undefined) throw new Error(`${name} is not set`);
  return readFileSync(file, 'utf8').trim();
};
const say = (line: string) => process.stdout.write(`provision: ${line}\n`);

const { databases, passwords } = JSON.parse(read('DATABASES_FILE')) as Provisioning;
await Promise.all(
  databases.map(async ({ name, adminUrl }) => {
    await ensureDatabase(adminUrl, name, passwords);
    await setPasswords(adminUrl, { [name]: passwords.roles[name] ?? '', auditor: passwords.auditor });
  }),
);
say(`${databases.length} databases are there`);
await provisionBroker({ url: read('NATS_URL_FILE'), replicas: 1, say });
say('streams and consumers are there');

/** They may have been rotated since the roles were made. */
async function setPasswords(adminUrl: string, passwordOf: Record<string, string>): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    for (const [role, password] of Object.entries(passwordOf)) {
      const statement = `alter role ${pg.escapeIdentifier(role)} password ${pg.escapeLiteral(password)}`;
      await client.query(statement);
    }
  } finally {
    await client.end();
  }
}
