/** One role per service, one database per role: what each may do, asked as that role. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { ensureDatabase, type Passwords } from '#lab/postgres-roles.ts';
import { system } from '../support/api.ts';
import { connects, excessOf } from '../support/database-rights.ts';

const databases = Object.entries(system.databases);
const names = databases.map(([name]) => name);
const passwords: Passwords = JSON.parse(readFileSync(join(system.home, 'passwords.json'), 'utf8'));
const others = ['postgres', 'template1'];

/** The same server, as somebody else. */
function as(url: string, user: string, password: string, database: string): string {
  const there = new URL(url);
  there.username = user;
  there.password = password;
  there.pathname = `/${database}`;
  return there.href;
}

async function asSuperuser<T>(name: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const url = as(system.databases[name]?.url ?? '', 'postgres', passwords.superuser, 'postgres');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const ensure = (name: string) =>
  ensureDatabase(
    as(system.databases[name]?.url ?? '', 'postgres', passwords.superuser, 'postgres'),
    name,
    passwords,
  );

describe.each(databases)('The database of %s', (name, { url, auditUrl }) => {
  test('has an owner that may nothing beyond it', async () => {
    expect(new URL(url).username).toBe(name);
    expect(await excessOf(url, [name, ...others])).toEqual([]);
  });

  test('has an auditor that only reads', async () => {
    expect(await excessOf(auditUrl, [name, ...others])).toEqual([]);
    const client = new pg.Client({ connectionString: auditUrl });
    await client.connect();
    try {
      const { rows } = await client.query(
        `select count(*)::int as tables from information_schema.tables where table_schema = 'public'`,
      );
      expect(rows[0].tables).toBeGreaterThan(0);
    } finally {
      await client.end();
    }
  });

  test('lets no role of another service in, with its own password or with this one', async () => {
    const { password } = new URL(url);
    for (const other of names.filter((each) => each !== name)) {
      const own = new URL(system.databases[other]?.url ?? '').password;
      for (const tried of [own, password]) {
        expect(await connects(as(url, other, tried, name)), `${other} at ${name}`).toBe(false);
      }
    }
  });

  test('keeps passwords as SCRAM verifiers, and nobody comes in without one', async () => {
    const rows = await asSuperuser(
      name,
      async (client) =>
        (await client.query('select rolname, rolpassword from pg_authid where rolcanlogin')).rows,
    );
    expect(rows.length).toBeGreaterThanOrEqual(3);
    for (const { rolname, rolpassword } of rows) expect(rolpassword, rolname).toMatch(/^SCRAM-SHA-256\$/);
    expect(await connects(as(url, name, '', name)).catch(() => false)).toBe(false);
  });
});

describe('These tests', () => {
  const name = 'notification';
  const { url, auditUrl } = system.databases[name] ?? { url: '', auditUrl: '' };
  const lists = [name, ...others];

  test.each([
    ['alter role notification createdb', 'rolcreatedb', 'alter role notification nocreatedb'],
    ['alter role notification createrole', 'rolcreaterole', 'alter role notification nocreaterole'],
    ['alter role notification superuser', 'rolsuper', 'alter role notification nosuperuser'],
    ['alter role notification set lock_timeout = 0', 'no lock_timeout', ''],
    ['grant connect on database postgres to notification', 'connects to postgres', ''],
    ['grant connect on database template1 to public', 'connects to template1', ''],
  ])('see what somebody loosened, and the lab tightens it again: %s', async (loosen, seen, tighten) => {
    await asSuperuser(name, (client) => client.query(loosen));
    try {
      const found = await excessOf(url, lists);
      expect(found.map(({ what }) => what)).toContain(seen);
    } finally {
      if (tighten !== '') await asSuperuser(name, (client) => client.query(tighten));
      await asSuperuser(name, (client) => client.query('revoke all on database postgres from notification'));
      await asSuperuser(name, (client) => client.query('drop database if exists stolen'));
      await asSuperuser(name, (client) => client.query('alter system reset all'));
      await ensure(name);
    }
    expect(await excessOf(url, lists)).toEqual([]);
  });

  test('see an auditor that may write', async () => {
    await asSuperuser(name, (client) => client.query('alter role auditor createdb'));
    await ensure(name);
    expect(await excessOf(auditUrl, lists)).toEqual([]);
    await asSuperuser(name, (client) => client.query('alter role auditor bypassrls'));
    expect((await excessOf(auditUrl, lists)).map(({ what }) => what)).toEqual(['rolbypassrls']);
    await ensure(name);
    expect(await excessOf(auditUrl, lists)).toEqual([]);
  });
});
