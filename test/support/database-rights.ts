/** What a role of a PostgreSQL server may do, as its own session finds out. */
import pg from 'pg';

export type Finding = { role: string; what: string };

const timeouts = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'] as const;

/** Everything that a role may do and should not; empty for one that is as small as it can be. */
export async function excessOf(url: string, databases: readonly string[]): Promise<Finding[]> {
  const { username: role, pathname } = new URL(url);
  const own = pathname.slice(1);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const findings: string[] = [];
  try {
    const { rows } =
      await client.query(`select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
      from pg_roles where rolname = current_user`);
    for (const [name, has] of Object.entries(rows[0] ?? { none: true })) if (has) findings.push(name);

    const settings = await client.query(
      'select name, setting, source from pg_settings where name = any($1)',
      [timeouts],
    );
    for (const { name, setting, source } of settings.rows) {
      if (source !== 'user' || Number(setting) === 0) findings.push(`no ${name}`);
    }

    const forbidden = [
      'create database stolen',
      'create role thief',
      'alter system set log_hostname = off',
      `create table public.stolen_by_public (id int)`,
      'select * from pg_authid',
      `copy (select 1) to program 'cat > /dev/null'`,
      'select pg_read_file($$postgresql.conf$$)',
    ];
    for (const statement of forbidden) {
      // The owner of a database makes tables in it; that is what it is for.
      if (statement.startsWith('create table') && own === role) continue;
      if (await passes(client, statement)) findings.push(statement);
    }
  } finally {
    await client.end();
  }
  for (const other of databases) {
    if (other === own) continue;
    const there = new URL(url);
    there.pathname = `/${other}`;
    if (await connects(there.href)) findings.push(`connects to ${other}`);
  }
  return findings.map((what) => ({ role, what }));
}

/** In a transaction that is rolled back where the statement allows one. */
async function passes(client: pg.Client, statement: string): Promise<boolean> {
  const isBare = /^(create database|alter system)/.test(statement);
  if (!isBare) await client.query('begin');
  try {
    await client.query(statement);
    return true;
  } catch (error) {
    const { code } = error as { code?: string };
    // Insufficient privilege, or a read-only session; anything else says nothing about rights.
    if (code === '42501' || code === '25006') return false;
    throw error;
  } finally {
    if (!isBare) await client.query('rollback');
  }
}

export async function connects(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3_000 });
  client.on('error', () => {}); // Whoever connects hears of it.
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch (error) {
    const { code } = error as { code?: string };
    // No right to connect, a wrong password, or a role or database that is not there.
    if (['42501', '28P01', '28000', '3D000'].includes(code ?? '')) return false;
    throw error;
  } finally {
    await client.end().catch(() => {}); // It may never have stood.
  }
}
