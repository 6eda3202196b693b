import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAdminToken } from '../../infra/lab/admin-token.ts';
import { runningLab } from '../../infra/lab/home.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { eventually, openPorts, type Place, place, processesOf, tinyTopology } from './support.ts';

const slowMs = 30_000;
let at: Place;
let lab: Lab;
const said: string[] = [];

beforeAll(async () => {
  at = await place();
  const { home, portBase } = at;
  const say = (line: string) => said.push(line);
  const env = { GIVEN: 'by the caller' };
  lab = await launchLab({ home, portBase, gatewayPort: portBase + 2, parts: tinyTopology, say, env });
}, slowMs);

afterAll(async () => {
  await lab?.close();
  await at?.[Symbol.asyncDispose]();
}, slowMs);

const pidOf = (part: string) => runningLab(lab.home).parts[part]?.process?.pid;
const environmentOf = async (port: number): Promise<Record<string, string>> =>
  (await (await fetch(`http://127.0.0.1:${port}/environment`)).json()) as Record<string, string>;

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

describe('the environment of a service', () => {
  test('holds what the contract names, and nothing else of the launcher', async () => {
    process.env.SAGA_LAB_SECRET = 'must stay behind';
    const env = await environmentOf(at.portBase + 1);
    expect(env).toMatchObject({
      SERVICE_HOST: '127.0.0.1',
      SERVICE_PORT: String(at.portBase + 1),
      DATABASE_URL: lab.databases.order?.url,
      NATS_MONITOR_URL: lab.nats.monitorUrl,
      FAULTS: 'on',
      LAB_DATA: 'on',
      NODE_ENV: 'production',
      GIVEN: 'by the caller',
    });
    expect(env).not.toHaveProperty('SAGA_LAB_SECRET');
    // Its own user of the broker, which may less than the one that commands and tests have.
    expect(env.NATS_URL).toMatch(/^nats:\/\/order:p[0-9a-f]{36}@127\.0\.0\.1:/);
    expect(lab.nats.url).toMatch(/^nats:\/\/admin:/);
    expect(env.NATS_URL).not.toContain(new URL(lab.nats.url).password);
  });

  test('of the gateway names the other services and the audit addresses, and no database of its own', async () => {
    const env = await environmentOf(at.portBase + 2);
    expect(env).toMatchObject({
      ORDER_URL: `http://127.0.0.1:${at.portBase + 1}`,
      ORDER_AUDIT_URL: lab.databases.order?.auditUrl,
      PAYMENT_AUDIT_URL: lab.databases.payment?.auditUrl,
    });
    expect(env).not.toHaveProperty('DATABASE_URL');
  });
});

describe('the databases', () => {
  test('are durable and allow prepared transactions', async () => {
    const settings = await withClient(lab.databases.order?.url ?? '', async (client) => {
      const names = ['max_prepared_transactions', 'fsync', 'synchronous_commit', 'server_encoding'];
      return (await client.query('select name, setting from pg_settings where name = any($1)', [names])).rows;
    });
    expect(Object.fromEntries(settings.map(({ name, setting }) => [name, setting]))).toEqual({
      max_prepared_transactions: '128',
      fsync: 'on',
      synchronous_commit: 'on',
      server_encoding: 'UTF8',
    });
  });

  test('belong to a role that is no superuser and can make tables', async () => {
    const rows = await withClient(lab.databases.order?.url ?? '', async (client) => {
      await client.query('create table if not exists thing (id int)');
      return (
        await client.query(
          'select rolname, rolsuper, rolcreaterole from pg_roles where rolname = current_user',
        )
      ).rows;
    });
    expect(rows).toEqual([{ rolname: 'order', rolsuper: false, rolcreaterole: false }]);
  });

  test('let the auditor read and not write, even when it asks for it', async () => {
    await withClient(lab.databases.order?.auditUrl ?? '', async (client) => {
      expect((await client.query('select count(*)::int as n from thing')).rows).toEqual([{ n: 0 }]);
      await expect(client.query('insert into thing values (1)')).rejects.toThrow('read-only transaction');
      await client.query('set default_transaction_read_only = off');
      await expect(client.query('insert into thing values (1)')).rejects.toThrow('permission denied');
      await expect(client.query('create table mine (id int)')).rejects.toThrow('permission denied');
    });
  });

  test('let no other role connect', async () => {
    await withClient(lab.databases.order?.url ?? '', async (client) => {
      const sql = `select has_database_privilege('public', d.oid, 'connect') as everyone from pg_database d where datallowconn`;
      expect((await client.query(sql)).rows.every(({ everyone }) => everyone === false)).toBe(true);
    });
    const foreign = (lab.databases.order?.url ?? '').replace(/order$/, 'postgres');
    await expect(withClient(foreign, async () => undefined)).rejects.toThrow(
      'permission denied for database',
    );
  });
});

test('the broker syncs every message', async () => {
  const answer = await fetch(`${lab.nats.monitorUrl}/varz`);
  const { jetstream } = (await answer.json()) as { jetstream: { config: { sync_always?: boolean } } };
  expect(jetstream.config.sync_always).toBe(true);
});

test('the state, the passwords and the admin token are for the owner only', async () => {
  for (const file of ['state.json', 'passwords.json', 'admin-token']) {
    expect(statSync(join(lab.home, file)).mode & 0o777).toBe(0o600);
  }
  const token = readAdminToken(lab.home);
  expect((await environmentOf(at.portBase + 1)).ADMIN_TOKEN).toBe(token);
  for (const file of ['state.json', 'logs/order.log', 'logs/order-db.log']) {
    expect(readFileSync(join(lab.home, file), 'utf8')).not.toContain(token);
  }
});

describe('a part that dies', () => {
  test('is started again, and said in one line', async () => {
    const before = pidOf('order');
    await fetch(`http://127.0.0.1:${at.portBase + 1}/exit`).catch(() => undefined); // It dies while it answers.
    await eventually('another process', () => pidOf('order') !== before && pidOf('order') !== undefined);
    await lab.ready();
    expect(said.filter((line) => line.startsWith('order ended unasked (exit code 7)'))).toHaveLength(1);
  });

  test.each(['order-db', 'nats'])('%s comes back after SIGKILL', { timeout: slowMs }, async (part) => {
    const before = pidOf(part);
    await lab.kill(part);
    await lab.ready();
    expect(pidOf(part)).not.toBe(before);
  });

  test('stays down when it is held or stopped, until it is started', async () => {
    await lab.kill('order', 'SIGKILL', { hold: true });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await openPorts(at)).not.toContain(at.portBase + 1);
    await lab.ready();
    await lab.start('order');
    await lab.stop('order-db');
    expect(await openPorts(at)).not.toContain(at.portBase + 11);
    await lab.start('order-db');
    expect(readFileSync(join(lab.home, 'logs/order-db.log'), 'utf8')).toContain(
      'database system is shut down',
    );
  });
});

test('a database that is paused answers nothing, backends included, until it is resumed', async () => {
  await withClient(lab.databases.order?.url ?? '', async (client) => {
    await lab.pause('order-db');
    const answer = client.query('select 1').then(() => 'answered');
    const silence = new Promise((resolve) => setTimeout(() => resolve('silent'), 300));
    expect(await Promise.race([answer, silence])).toBe('silent');
    await lab.resume('order-db');
    expect(await answer).toBe('answered');
  });
});

test('close leaves no process and no open port, and data that the next start reads', {
  timeout: slowMs,
}, async () => {
  await lab.pause('order');
  await lab.close();
  expect(processesOf(at.home)).toEqual([]);
  expect(await openPorts(at)).toEqual([]);
  const { home, portBase } = at;
  lab = await launchLab({ home, portBase, gatewayPort: portBase + 2, parts: tinyTopology });
  await withClient(lab.databases.order?.url ?? '', async (client) => {
    expect((await client.query('select count(*)::int as n from thing')).rows).toEqual([{ n: 0 }]);
  });
});
