/** The broker's chart is not here, but what it is told is: its values, and the files that the Secret holds. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IJob } from 'kubernetes-models/batch/v1';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { cachedPath } from '#lab/nats-binary.ts';
import { release } from '#lab/nats-sources.ts';
import { brokerSecrets, routeSecrets, type Secret } from '../../infra/kubernetes/secrets.ts';
import { directory } from './manifests.ts';

const values = parse(readFileSync(join(directory, 'nats/values.yaml'), 'utf8'), { merge: true });
const mounted = [brokerSecrets()[1], ...routeSecrets()].filter((secret) => secret !== undefined);
const files: Record<string, string> = Object.assign({}, ...mounted.map(({ stringData }) => stringData));
const broker = cachedPath(process.env);

describe('The values of the chart', () => {
  test('make as many nodes as the streams have copies, on disk', () => {
    const text = readFileSync(join(directory, 'base/provision.yaml'), 'utf8');
    const job = parseAllDocuments(text)[0]?.toJS() as IJob;
    const env = job.spec?.template.spec?.containers[0]?.env ?? [];
    expect(env.find(({ name }) => name === 'NATS_REPLICAS')?.value).toBe(
      String(values.config.cluster.replicas),
    );
    expect(values.config.jetstream).toMatchObject({ enabled: true, merge: { sync_interval: 'always' } });
    expect(values.config.jetstream.fileStore.pvc.size).toMatch(/^\d+Gi$/);
  });

  test('run the version that the lab is tested with', () => {
    expect(values.container.image.tag).toBe(`${release.version}-alpine`);
  });

  test('include the files of the Secrets, from where they are mounted, and no password', () => {
    const mount = values.container.patch[0].value;
    const volume = values.podTemplate.patch[0].value;
    expect(mount).toMatchObject({ name: volume.name, mountPath: '/etc/nats-secret' });
    const sources = volume.projected.sources.map(({ secret }: { secret: { name: string } }) => secret.name);
    expect(sources).toEqual(mounted.map(({ metadata }) => metadata.name));
    const included = [values.config.merge, values.config.cluster.merge].map((merge) => merge.zzz$include);
    expect(included).toEqual(['../nats-secret/users.conf', '../nats-secret/cluster.conf']);
    expect(Object.keys(files)).toEqual(['users.conf', 'cluster.conf']);
  });
});

describe('A rotation', () => {
  const printed = (...which: string[]): Secret[] => {
    const script = join(directory, 'secrets.ts');
    return JSON.parse(execFileSync(process.execPath, [script, ...which], { stdio: 'pipe', encoding: 'utf8' }))
      .items;
  };
  const keysOf = (secrets: Secret[]) =>
    Object.fromEntries(secrets.map(({ metadata, stringData }) => [metadata.name, Object.keys(stringData)]));

  test('of the users leaves the routes of the nodes alone, and the other way round', () => {
    const users = printed('nats');
    expect(Object.keys(keysOf(users))).toEqual(['nats-passwords', 'nats-users']);
    expect(JSON.stringify(users)).not.toContain('nats-route');
    expect(keysOf(printed('nats-routes'))).toEqual({ 'nats-routes': ['cluster.conf'] });
  });

  test('replaces nothing when it is not known what to rotate', () => {
    expect(() => printed('route')).toThrow('there are no Secrets called route');
  });
});

/** What the chart makes of the values, as its own tests show it. */
const configuration = (store: string) => `{
  "cluster": { "name": "nats", "no_advertise": true, "port": 6222, include "../nats-secret/cluster.conf"; }
  "http_port": 8222
  "jetstream": { "store_dir": ${JSON.stringify(store)}, "max_memory_store": 0, "sync_interval": "always" }
  "max_payload": 1MB
  "port": 4222
  "server_name": "nats-0"
  include "../nats-secret/users.conf";
}`;

function check(users: string): string {
  const root = mkdtempSync(join(tmpdir(), 'nats-values-'));
  try {
    for (const name of ['nats-config', 'nats-secret']) mkdirSync(join(root, name));
    writeFileSync(join(root, 'nats-config/nats.conf'), configuration(join(root, 'store')));
    writeFileSync(join(root, 'nats-secret/users.conf'), users);
    writeFileSync(join(root, 'nats-secret/cluster.conf'), files['cluster.conf'] ?? '');
    execFileSync(broker, ['-t', '-c', join(root, 'nats-config/nats.conf')], {
      stdio: 'pipe',
      encoding: 'utf8',
    });
    return 'valid';
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? String(error);
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe.skipIf(!existsSync(broker))('The broker (not run when none is in the cache)', () => {
  test('accepts users and routes as the Secret gives them', () => {
    expect(check(files['users.conf'] ?? '')).toBe('valid');
  });

  test('refuses users whose password is not given', () => {
    const users = (files['users.conf'] ?? '').replace(/^ORDER_NATS_PASSWORD.*$/m, '');
    expect(check(users)).toContain('ORDER_NATS_PASSWORD');
  });
});
