import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { NatsConnection } from '@nats-io/transport-node';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiRoutes } from '#libs/contracts/api.ts';
import { createHttp } from '#libs/service/http.ts';
import type { GatewayConfig } from '#services/console/config.ts';
import { registerRoutes } from '#services/console/gateway.ts';
import type { Upstreams } from '#services/console/pass-on.ts';
import { staleDocuments, writeDocuments } from '../infra/generate/documents.ts';
import { isDrifted } from '../infra/generate/migrations.ts';

const repository = resolve(import.meta.dirname, '..');
const checkMsMax = 20_000;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'saga-generated-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function check(docs: string) {
  const args = ['infra/generate.ts', '--check', '--docs', docs];
  return spawnSync(process.execPath, args, { cwd: repository, encoding: 'utf8' });
}

describe('The generated files', () => {
  test('are current', { timeout: checkMsMax }, () => {
    const { status, stderr } = check('docs');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('are named when one is stale or missing, with what to do', { timeout: checkMsMax }, () => {
    const docs = join(directory, 'docs');
    writeDocuments(docs);
    writeFileSync(
      join(docs, 'problems.md'),
      readFileSync(join(docs, 'problems.md'), 'utf8').replace('404', '405'),
    );
    rmSync(join(docs, 'openapi.json'));
    const { status, stderr } = check(docs);
    expect(status).toBe(1);
    expect(stderr).toBe(
      `${join(docs, 'problems.md')} is stale\n${join(docs, 'openapi.json')} is stale\nWrite them with: npm run generate\n`,
    );
    expect(writeDocuments(docs)).toHaveLength(2);
    expect(staleDocuments(docs)).toEqual([]);
  });

  test('hold no migration that is older than its schema', async () => {
    const planted = join(directory, 'migrations');
    cpSync(join(repository, 'services/payment/migrations'), planted, { recursive: true });
    expect(await isDrifted('payment', planted)).toBe(false);
    const last = join(
      planted,
      'meta',
      readdirSync(join(planted, 'meta')).filter(isSnapshot).sort().at(-1) ?? '',
    );
    const snapshot = JSON.parse(readFileSync(last, 'utf8'));
    delete snapshot.tables['public.payments'].columns.amount;
    writeFileSync(last, JSON.stringify(snapshot));
    expect(await isDrifted('payment', planted)).toBe(true);
  });
});

const isSnapshot = (name: string) => name.endsWith('_snapshot.json');

describe('The rows of the API', () => {
  test('name schemas that stand once, where the routes take them from too', () => {
    const rows = readFileSync(join(repository, 'libs/contracts/api.ts'), 'utf8').split('\n');
    const taken = rows.filter((line) => /^ +(query|params): /.test(line));
    expect(taken.length).toBeGreaterThan(10);
    expect(taken.filter((line) => !/: ((answers|letters)\.)?\w+,$/.test(line))).toEqual([]);
    // The coordinator's routes are none of the public API; a configuration is the process's own.
    const patterns = ['services/*/routes.ts', 'services/console/*.ts'];
    const own = globSync(patterns, { cwd: repository }).filter((file) => {
      return readFileSync(join(repository, file), 'utf8').includes("from 'zod'");
    });
    expect(own.sort()).toEqual(['services/console/config.ts', 'services/coordinator/routes.ts']);
  });

  test('are exactly the routes that the gateway serves', async () => {
    const served = new Set<string>();
    const unused = async () => ({ ready: true, detail: {} });
    const app = createHttp({ logger: pino({ level: 'silent' }), health: unused, metrics: async () => '' });
    app.addHook('onRoute', ({ method, url }) => {
      for (const each of [method].flat()) if (each !== 'HEAD') served.add(`${each} ${url}`);
    });
    const connection = { subscribe: () => undefined } as unknown as NatsConnection;
    await registerRoutes(app, {} as Upstreams, connection, { FAULTS: false } as GatewayConfig);
    // Health and metrics stand there before a hook can be added.
    for (const url of ['/livez', '/readyz', '/metrics'])
      if (app.hasRoute({ method: 'GET', url })) served.add(`GET ${url}`);
    expect([...served].sort()).toEqual(apiRoutes.map(({ method, path }) => `${method} ${path}`).sort());
    await app.close();
  });

  test('have names and parameters that fit their paths', () => {
    const flaws = apiRoutes.flatMap(({ id, path, params }) => {
      const wanted = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name);
      const given = Object.keys(params?.shape ?? {});
      return wanted.join() === given.join() ? [] : [`${id}: ${given} for ${path}`];
    });
    expect(flaws).toEqual([]);
    expect(new Set(apiRoutes.map(({ id }) => id)).size).toBe(apiRoutes.length);
  });
});
