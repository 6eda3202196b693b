import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { main } from '#lab/cli.ts';
import { serviceEnvironment } from '#lab/environment.ts';
import { natsServers } from '#lab/nats.ts';
import type { PartSpec } from '#lab/supervisor.ts';
import { labTopology, type NatsNode, natsNodesOf, scaled } from '#lab/topology.ts';

const portBase = 26_000;
const topology = scaled(labTopology, 3, 3);

function environmentOf(name: string): Record<string, string> {
  const { services } = topology;
  const service = services.find((each) => each.name === name);
  if (!service) throw new Error(`there is no ${name}`);
  const addresses = {
    host: '127.0.0.1',
    gatewayPort: 8_080,
    portOf: ({ portOffset }: { portOffset?: number }) =>
      portOffset === undefined ? 8_080 : portBase + portOffset,
    databases: { order: { url: 'of order', auditUrl: 'audit' } },
    nats: { url: 'nats://1,nats://2,nats://3', monitorUrl: 'http://1,http://2,http://3' },
    natsUrlOf: (user: string) => `nats of ${user}`,
    jaegerUrl: null,
    adminToken: 'the token',
  };
  return serviceEnvironment(service, services, addresses, {});
}

describe('A lab of three replicas', () => {
  test('has three of every service and one of every database, each on a port of its own', () => {
    const names = topology.services.map(({ name }) => name);
    expect(names).toHaveLength(3 * labTopology.services.length);
    expect(names.filter((name) => name.startsWith('order'))).toEqual(['order', 'order-2', 'order-3']);
    expect(topology.databases.map(({ name }) => name)).toEqual(labTopology.databases.map(({ name }) => name));
    const ports = [
      ...topology.services.flatMap(({ portOffset }) => portOffset ?? []),
      ...topology.databases.map(({ portOffset }) => portOffset),
      ...natsNodesOf(topology, 0).flatMap(({ port, monitorPort, routePort }) => [
        port,
        monitorPort,
        routePort,
      ]),
    ];
    expect(new Set(ports).size).toBe(ports.length);
    expect(ports).toHaveLength(names.length - 1 + 6 + 9);
  });

  test('of one replica is the lab as it was', () => {
    expect(scaled(labTopology, 1, 1).services).toEqual(labTopology.services);
  });

  test('tells everybody all addresses of those that they may know', () => {
    const url = (port: number) => `http://127.0.0.1:${port}`;
    for (const name of ['payment', 'payment-2']) {
      const { COORDINATOR_URL, ORDER_URL, DATABASE_URL } = environmentOf(name);
      expect(COORDINATOR_URL).toBe([26_006, 26_066, 26_126].map(url).join());
      expect([ORDER_URL, DATABASE_URL]).toEqual([undefined, undefined]);
    }
    for (const name of ['gateway', 'gateway-3', 'coordinator-2']) {
      expect(environmentOf(name).ORDER_URL).toBe([26_001, 26_061, 26_121].map(url).join());
    }
    expect(environmentOf('gateway-2')).toMatchObject({ SERVICE_PORT: '26067', ORDER_AUDIT_URL: 'audit' });
    const third = { SERVICE_PORT: '26121', DATABASE_URL: 'of order', NATS_URL: 'nats of order' };
    expect(environmentOf('order-3')).toMatchObject(third);
  });
});

describe('A cluster of brokers', () => {
  const home = () => {
    const path = mkdtempSync(join(tmpdir(), 'saga-cluster-'));
    return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
  };
  const servers = (path: string, nodes: readonly NatsNode[]) =>
    natsServers({ home: path, binary: '/bin/true', nodes, passwords: {} });
  const configOf = (specs: readonly PartSpec[], index: number) => specs[index]?.args.at(-1) ?? '';

  test('shares a secret that only its owner can read, and syncs on every node', async () => {
    using at = home();
    const specs = await servers(at.path, natsNodesOf(topology, portBase));
    expect(specs.map(({ name, port }) => `${name} ${port}`)).toEqual([
      'nats 26020',
      'nats-2 26080',
      'nats-3 26140',
    ]);
    const texts = specs.map((_, index) => readFileSync(configOf(specs, index), 'utf8'));
    expect(new Set(texts.map((text) => /password: "([0-9a-f]{36})"/.exec(text)?.[1])).size).toBe(1);
    for (const text of texts) expect(text).toContain('sync_interval: always');
    for (const index of specs.keys()) expect(statSync(configOf(specs, index)).mode & 0o777).toBe(0o600);
  });

  test('is not made of what a broker alone has stored', async () => {
    using at = home();
    const [alone, cluster] = [natsNodesOf(labTopology, portBase), natsNodesOf(topology, portBase)];
    const [spec] = await servers(at.path, alone);
    expect(readFileSync(spec?.args.at(-1) ?? '', 'utf8')).not.toContain('cluster {');
    // It has not stored anything yet.
    await servers(at.path, cluster);
    mkdirSync(join(at.path, 'nats', 'store'));
    await expect(servers(at.path, alone)).rejects.toThrow('--fresh');
    await servers(at.path, cluster);
  });
});

test.each([
  [['--nats-cluster', '2'], 'an even number adds no safety'],
  [['--replicas', '0'], 'a whole number from 1 to 8'],
  [['--replicas', 'many'], 'a whole number from 1 to 8'],
])('npx lab up %j is refused before anything is started', async (args, reason) => {
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  expect(await main(['up', ...args, '--home', '/nowhere'], { out: say, err: say })).toBe(2);
  expect(lines.join('\n')).toContain(reason);
});
