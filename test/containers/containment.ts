/** What a container can reach, read and write: asked from inside of it. For compose.test.ts. */
import { describe, expect, test } from 'vitest';
import { databaseGroupIds, userIds } from '../../infra/docker/containers.ts';
import { containers, inside, ports, succeeds } from './docker.ts';
import { compose, wanted } from './shop.ts';

export function containment(): void {
  describe('is contained:', () => {
    test('publishes the gateway, Jaeger and Grafana, on loopback only', async () => {
      const published = [...(await containers())].flatMap(([name, { NetworkSettings }]) =>
        Object.entries(NetworkSettings.Ports).flatMap(([port, at]) =>
          (at ?? []).map(({ HostIp, HostPort }) => `${name} ${port} ${HostIp}:${HostPort}`),
        ),
      );
      const all = [
        `gateway 8080/tcp 127.0.0.1:${ports.gateway}`,
        `jaeger 16686/tcp 127.0.0.1:${ports.jaeger}`,
        `grafana 3000/tcp 127.0.0.1:${ports.grafana}`,
      ];
      expect(published.sort()).toEqual(
        all.filter((line) => wanted.includes(line.split(' ')[0] ?? '')).sort(),
      );
    });

    test('every container has a user of its own, no privilege, no place to write and a bound of memory', async () => {
      const all = await containers();
      for (const [name, { Config, HostConfig }] of all) {
        const limits = {
          ReadonlyRootfs: true,
          Privileged: false,
          CapDrop: ['ALL'],
          SecurityOpt: ['no-new-privileges:true'],
          Memory: expect.toSatisfy((bytes: number) => bytes > 0 && bytes <= 1024 ** 3),
        };
        expect([name, HostConfig]).toEqual([name, expect.objectContaining(limits)]);
        // The one that gives files away, and ends.
        if (name === 'secrets') expect([Config.User, HostConfig.CapAdd?.length]).toEqual(['0:0', 1]);
        else expect([name, HostConfig.CapAdd ?? []]).toEqual([name, []]);
      }
      for (const [name, id] of Object.entries(userIds))
        expect(all.get(name)?.Config.User).toBe(`${id}:${id}`);
      for (const [name, id] of Object.entries(databaseGroupIds)) {
        expect(all.get(`${name}-db`)?.Config.User).toBe(`70:${id}`);
      }
      const users = [...all.values()].map(({ Config }) => Config.User);
      expect(new Set(users).size).toBe(users.length);
    });

    test('a service reads its own secrets and nobody else’s, and can write nothing', async () => {
      expect((await inside('payment', 'cat', '/run/secrets/payment/database-url')).stdout).toMatch(
        /^postgres:/,
      );
      for (const other of [
        'order/database-url',
        'gateway/payment-audit-url',
        'provision/databases.json',
        'kept/secrets.json',
        'payment-db/superuser-password',
      ]) {
        const read = await inside('payment', 'cat', `/run/secrets/${other}`);
        expect([other, read.code, read.stdout]).toEqual([other, 1, '']);
        expect(read.stderr).toContain('Permission denied');
      }
      for (const path of ['/app/x', '/tmp/x', '/run/secrets/payment/x']) {
        expect((await inside('payment', 'sh', '-c', `echo x > ${path}`)).stderr).toMatch(
          /Read-only file system/,
        );
      }
      // A database server is of the same user as the others, and tells itself apart by its group.
      const other = await compose(
        'exec',
        '-T',
        'order-db',
        'cat',
        '/run/secrets/payment-db/superuser-password',
      );
      expect([other.code, other.stdout]).toEqual([1, '']);
    });

    test('no secret stands in an environment, a command line or a log', async () => {
      const kept = await succeeds(
        compose('run', '--rm', '--no-deps', '-T', 'secrets', 'cat', '/run/secrets/kept/secrets.json'),
      );
      const secrets = kept.match(/p[0-9a-f]{48}/g) ?? [];
      expect(secrets.length).toBeGreaterThan(20);
      const shown = JSON.stringify([...(await containers()).values()]);
      const logs = await succeeds(compose('logs', '--no-color'));
      for (const secret of secrets) expect(`${shown}${logs}`.includes(secret)).toBe(false);
    });

    test('a database is out of reach for everybody but its service, provisioning and the checker', async () => {
      const connect = (
        host: string,
      ) => `require('net').connect({ port: 5432, host: '${host}', timeout: 1500 })
        .on('connect', () => end('reached')).on('timeout', () => end('silence')).on('error', ({ code }) => end(code));
        function end(how) { console.log(how); process.exit(); }`;
      const fromPayment = async (host: string) =>
        (await inside('payment', 'node', '-e', connect(host))).stdout.trim();
      expect(await fromPayment('payment-db')).toBe('reached');
      const orderDb = (await containers()).get('order-db');
      const [network] = Object.values(orderDb?.NetworkSettings.Networks ?? {});
      for (const host of ['order-db', 'coordinator-db', network?.IPAddress ?? '']) {
        const how = await fromPayment(host);
        expect([host, how]).toEqual([
          host,
          expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|silence)$/),
        ]);
      }
      const write = `const pg = require('pg'); const fs = require('fs');
        const client = new pg.Client({ connectionString: fs.readFileSync('/run/secrets/gateway/payment-audit-url', 'utf8') });
        client.connect().then(() => client.query('delete from journal')).then(() => console.log('deleted'), (e) => console.log(e.code)).then(() => client.end())`;
      expect((await inside('gateway', 'node', '-e', write)).stdout).toMatch(/^(25006|42501)\n$/);
    });
  });
}
