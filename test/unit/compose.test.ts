/** docker-compose.yml beside the table of its secrets: what can be known without Docker. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { connectionsFor, databaseMemoryMb, preparedFor } from '#lab/postgres-limits.ts';
import {
  databaseGroupIds,
  databases,
  type Secrets,
  secretFiles,
  userIds,
} from '../../infra/docker/containers.ts';
import { brokerUsers } from '../../infra/nats/users.ts';

const root = resolve(import.meta.dirname, '../..');
const compose = readFileSync(resolve(root, 'docker-compose.yml'), 'utf8');

/** The text of each service: Compose's own reading needs Docker. */
const services = new Map(
  (/^services:\n([\s\S]*?)^networks:$/m.exec(compose)?.[1] ?? '').split(/^(?= {2}[a-z])/m).flatMap((text) => {
    const name = /^ {2}([a-z-]+):$/m.exec(text)?.[1];
    return name === undefined ? [] : [[name, text] as const];
  }),
);

const each = (names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, `secret-of-${name}`]));
const secrets = {
  superusers: each(databases),
  roles: each(databases),
  auditor: 'secret-of-auditor',
  broker: each(brokerUsers.map(({ name }) => name)),
  adminToken: 'the-admin-token',
} as Secrets;
const users = ['users.conf', 'users-faults.conf'].map((name) =>
  readFileSync(resolve(root, 'infra/nats', name), 'utf8'),
);

test('Every container runs as the user that its secrets belong to', () => {
  expect([...services.keys()]).toEqual(
    expect.arrayContaining(['secrets', 'provision', 'gateway', 'order-db']),
  );
  for (const [name, id] of Object.entries(userIds))
    expect(services.get(name)).toContain(`user: "${id}:${id}"`);
  for (const [name, id] of Object.entries(databaseGroupIds)) {
    expect(services.get(`${name}-db`)).toContain(`user: "70:${id}"`);
  }
});

test('Every secret that a container names is there, and is its own', () => {
  const files = new Map(secretFiles(secrets, '', true).map((file) => [file.path, file]));
  const named = [...services].flatMap(([name, text]) =>
    [...text.matchAll(/\/run\/secrets\/([a-z-]+\/[a-z.-]+)/g)].map(([, path = '']) => ({ name, path })),
  );
  expect(new Set(named.map(({ path }) => path))).toEqual(new Set(files.keys()));
  for (const { name, path } of named) {
    const { userId, groupId } = files.get(path) ?? {};
    expect([path, path.split('/')[0]]).toEqual([path, name]);
    expect(services.get(name)).toContain(groupId === undefined ? `user: "${userId}:` : `:${groupId}"`);
  }
});

test('No secret is in two files but where two must know it, and the token only when it is on', () => {
  const holders = (secret: string, admin = true) =>
    secretFiles(secrets, '', admin).flatMap(({ path, content }) => (content.includes(secret) ? [path] : []));
  expect(holders('secret-of-payment').sort()).toEqual(
    [
      'nats/nats.conf',
      'payment-db/superuser-password',
      'payment/database-url',
      'payment/nats-url',
      'provision/databases.json',
    ].sort(),
  );
  expect(holders('secret-of-admin').sort()).toEqual([
    'keeper/nats-url',
    'nats/nats.conf',
    'provision/nats-url',
  ]);
  expect(holders('the-admin-token').length).toBe(6);
  expect(holders('the-admin-token', false)).toEqual([]);
});

test('The broker’s file has a password for every user that its permissions name', () => {
  for (const text of users) {
    const [file] = secretFiles(secrets, text, false).filter(({ path }) => path === 'nats/nats.conf');
    const wanted = new Set([...text.matchAll(/\$([A-Z]+_NATS_PASSWORD)/g)].map(([, name = '']) => name));
    expect(wanted.size).toBe(brokerUsers.length);
    for (const name of wanted) expect(file?.content).toMatch(new RegExp(`^${name}: "secret-of-`, 'm'));
  }
});

test('What is published is published on loopback, and every image has a version', () => {
  const published = [...compose.matchAll(/^ +ports: (.*)$/gm)].map(([, text = '']) => text);
  expect(published.length).toBe(3);
  for (const one of published) expect(one).toMatch(/^\["127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+"\]$/);
  const images = [...compose.matchAll(/image: \$\{[A-Z]+_IMAGE:-([^}]+)\}/g)].map(([, image = '']) => image);
  expect(images.length).toBe(5);
  for (const image of images) expect(image).toMatch(/:v?\d+(\.\d+)*(-alpine)?$/);
});

test('A database has the memory for all connections that it allows, and connections for several replicas', () => {
  const [, database = ''] = /^x-database: &database\n([\s\S]*?)^x-/m.exec(compose) ?? [];
  const numberIn = (pattern: RegExp) => Number(pattern.exec(database)?.[1]);
  const connections = numberIn(/max_connections=(\d+)/);
  expect(connections).toBeGreaterThanOrEqual(connectionsFor(3));
  expect(numberIn(/max_prepared_transactions=(\d+)/)).toBeGreaterThanOrEqual(preparedFor(1));
  const memoryMb = databaseMemoryMb(connections, numberIn(/shared_buffers=(\d+)MB/));
  expect(numberIn(/mem_limit: (\d+)m$/m)).toBeGreaterThanOrEqual(memoryMb);
});
