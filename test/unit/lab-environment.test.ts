import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { makeAdminToken, readAdminToken } from '#lab/admin-token.ts';
import { serviceEnvironment } from '#lab/environment.ts';
import { labTopology } from '#lab/topology.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';

const home = mkdtempSync(join(tmpdir(), 'saga-token-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

describe('The addresses that a service is told', () => {
  const { services, databases } = labTopology;
  const addresses = {
    host: '127.0.0.1',
    gatewayPort: 8080,
    portOf: ({ portOffset = 0 }: { portOffset?: number }) => 26_000 + portOffset,
    databases: Object.fromEntries(
      databases.map(({ name }) => [name, { url: `of ${name}`, auditUrl: 'audit' }]),
    ),
    nats: { url: 'nats://there', monitorUrl: 'http://there' },
    natsUrlOf: (user: string) => `nats://${user}@there`,
    jaegerUrl: null,
    adminToken: 'the token',
  };
  const environmentOf = (name: string) => {
    const service = services.find((each) => each.name === name);
    if (!service) throw new Error(`there is no ${name}`);
    return serviceEnvironment(service, services, addresses, {});
  };
  const serviceUrls = (name: string) =>
    Object.keys(environmentOf(name))
      .filter((key) => /^[A-Z]+_URL$/.test(key) && !['DATABASE_URL', 'NATS_URL', 'JAEGER_URL'].includes(key))
      .sort();

  test('are those of the participants for the coordinator, and its alone for every other service', () => {
    expect(serviceUrls('coordinator')).toEqual(
      participantNames.map((name) => `${name.toUpperCase()}_URL`).sort(),
    );
    for (const name of ['order', 'payment', 'inventory', 'logistics', 'notification']) {
      expect(serviceUrls(name)).toEqual(['COORDINATOR_URL']);
    }
    expect(environmentOf('payment').COORDINATOR_URL).toBe('http://127.0.0.1:26006');
    expect(environmentOf('coordinator').DATABASE_URL).toBe('of coordinator');
  });

  test('are all for the gateway, which also reads the decision log', () => {
    expect(serviceUrls('gateway')).toHaveLength(services.length - 1);
    expect(environmentOf('gateway').COORDINATOR_AUDIT_URL).toBe('audit');
  });

  test('come with the admin token for who asks for it, and for nobody else', () => {
    const told = services
      .map(({ name }) => name)
      .filter((name) => environmentOf(name).ADMIN_TOKEN !== undefined);
    expect(told.sort()).toEqual(['gateway', 'notification', ...participantNames].sort());
  });
});

describe('The admin token', () => {
  const file = join(home, 'admin-token');

  test('is made once, and only its owner may read it', () => {
    expect(() => readAdminToken(home)).toThrow('no lab was started');
    const token = makeAdminToken(home);
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(makeAdminToken(home)).toBe(token);
    expect(readAdminToken(home)).toBe(token);
  });

  test('is made anew when a power cut left the file torn', () => {
    const before = readAdminToken(home);
    writeFileSync(file, before.slice(0, 10));
    expect(makeAdminToken(home)).not.toBe(before);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});
