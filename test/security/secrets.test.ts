/** That every process of the lab comes as itself, and that no secret stands where others read. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import type { Passwords } from '#lab/postgres-roles.ts';
import { serviceNames } from '#libs/contracts/events.ts';
import { endOf, place, system } from '../support/api.ts';

const passwords: Passwords = JSON.parse(readFileSync(join(system.home, 'passwords.json'), 'utf8'));
const secrets = [
  passwords.superuser,
  passwords.auditor,
  ...Object.values(passwords.roles),
  ...Object.values(passwords.broker),
  readAdminToken(system.home),
];

test('Every process is at the broker under its own name', async () => {
  const answer = await fetch(`${system.nats.monitorUrl}/connz?auth=true`);
  const { connections } = (await answer.json()) as {
    connections: { name?: string; authorized_user?: string }[];
  };
  for (const name of [...serviceNames, 'gateway', 'coordinator']) {
    const users = connections.filter((each) => each.name === name).map((each) => each.authorized_user);
    expect(users, name).toContain(name);
    expect(new Set(users).size, name).toBe(1);
  }
});

describe('No secret', () => {
  test('is used twice, or weak', () => {
    expect(new Set(secrets).size).toBe(secrets.length);
    for (const secret of secrets) expect(secret.length).toBeGreaterThanOrEqual(36);
  });

  test('stands in a log, after orders that went well and badly', async () => {
    for (const over of [{}, { customerId: 'ravi' }, { city: 'lonavala' }]) {
      await endOf((await place(over)).orderId);
    }
    const logs = readdirSync(join(system.home, 'logs')).map((name) => join(system.home, 'logs', name));
    expect(logs.length).toBeGreaterThan(10);
    for (const file of [...logs, system.launcherLog]) {
      const text = readFileSync(file, 'utf8');
      for (const secret of secrets) expect(text.includes(secret), file).toBe(false);
    }
  });

  test('is in a file that others may read', () => {
    const files = readdirSync(system.home, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes('/postgres'))
      .map((entry) => join(entry.parentPath, entry.name));
    const holding = files.filter((file) => {
      const bytes = readFileSync(file);
      return secrets.some((secret) => bytes.includes(secret));
    });
    expect(holding.map((file) => file.slice(system.home.length + 1)).sort()).toEqual([
      'admin-token',
      'passwords.json',
      'state.json',
    ]);
    for (const file of holding) expect(statSync(file).mode & 0o077, file).toBe(0);
  });

  test('is shown by the monitoring of the broker, which answers on this machine only', async () => {
    for (const path of ['/varz', '/connz?auth=true&subs=true', '/jsz?config=true']) {
      const text = await (await fetch(system.nats.monitorUrl + path)).text();
      for (const secret of secrets) expect(text.includes(secret), path).toBe(false);
    }
    expect(new URL(system.nats.monitorUrl).hostname).toBe('127.0.0.1');
  });
});
