import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cachedPath, findBroker } from '../../infra/lab/nats-binary.ts';
import type { Release } from '../../infra/lab/tool-download.ts';

let root: string;
let env: Record<string, string>;
let server: Server | undefined;
const said: string[] = [];
const say = (line: string) => said.push(line);
const key = `${process.platform}-${process.arch}`;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'saga-lab-nats-'));
  mkdirSync(join(root, 'bin'));
  env = { SAGA_LAB_CACHE: join(root, 'cache'), PATH: join(root, 'bin') };
  said.length = 0;
});

afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
});

function pretendServer(file: string, version: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\necho 'nats-server: v${version}'\n`);
  chmodSync(file, 0o755);
  return file;
}

/** A release site on this machine that serves one archive of a pretended server. */
async function releaseSite(version: string): Promise<Release> {
  const folder = `nats-server-v${version}-test`;
  pretendServer(join(root, folder, 'nats-server'), version);
  execFileSync('tar', ['-czf', 'archive.tar.gz', folder], { cwd: root });
  const archive = readFileSync(join(root, 'archive.tar.gz'));
  server = createServer((request, response) => {
    response.statusCode = request.url === `/v${version}/${folder}.tar.gz` ? 200 : 404;
    response.end(archive);
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const sha256 = createHash('sha256').update(archive).digest('hex');
  const { port } = server.address() as AddressInfo;
  return { version, baseUrl: `http://127.0.0.1:${port}`, archives: { [key]: { name: 'test', sha256 } } };
}

test('NATS_URL is taken as it is', async () => {
  pretendServer(join(root, 'bin/nats-server'), '2.12.1');
  const broker = await findBroker({ env: { ...env, NATS_URL: 'nats://broker:4222' }, say });
  expect(broker).toEqual({ kind: 'external', url: 'nats://broker:4222' });
});

test('the PATH comes before the cache, when it is new enough', async () => {
  const path = pretendServer(join(root, 'bin/nats-server'), '2.10.0');
  pretendServer(cachedPath(env), '2.12.1');
  expect(await findBroker({ env, say })).toMatchObject({ path, version: '2.10.0' });
});

test('a server on the PATH that is too old is said and passed over', async () => {
  pretendServer(join(root, 'bin/nats-server'), '2.9.10');
  const path = pretendServer(cachedPath(env), '2.12.1');
  expect(await findBroker({ env, say })).toMatchObject({ path, version: '2.12.1' });
  expect(said.join()).toContain('version 2.9.10 is too old');
});

test('a node of a cluster must be newer; what a broker alone has in the cache will do when it is', async () => {
  pretendServer(join(root, 'bin/nats-server'), '2.10.27');
  const isCluster = true;
  const alone = pretendServer(cachedPath(env), '2.12.15');
  expect(await findBroker({ env, say, isCluster })).toMatchObject({ path: alone, version: '2.12.15' });
  expect(said.join()).toContain('version 2.10.27 is too old, 2.12 is needed');
  pretendServer(cachedPath(env), '2.10.27');
  const path = pretendServer(cachedPath(env, isCluster), '2.14.0');
  expect(await findBroker({ env, say, isCluster })).toMatchObject({ path, version: '2.14.0' });
  expect(await findBroker({ env, say })).toMatchObject({ version: '2.10.27' });
});

test('the release is downloaded, checked, and kept in the cache', async () => {
  const release = await releaseSite('2.12.15');
  const first = await findBroker({ env, say, release });
  expect(first).toMatchObject({ path: cachedPath(env), version: '2.12.15' });
  expect(readdirSync(join(root, 'cache'))).toHaveLength(1);
  const again = await findBroker({ env, say, release: { ...release, baseUrl: 'http://127.0.0.1:1' } });
  expect(again).toMatchObject({ from: 'the cache' });
});

test('an archive with another checksum is refused and leaves nothing', async () => {
  const release = await releaseSite('2.12.15');
  const archives = { [key]: { name: 'test', sha256: '0'.repeat(64) } };
  // The next way (Debian, Go) may find one; stopping the search here keeps the test off the network.
  const stop = new AbortController();
  const halt = (line: string) => {
    say(line);
    if (line.includes('trying the next way')) stop.abort(new Error('far enough'));
  };
  const search = { env, say: halt, release: { ...release, archives }, signal: stop.signal };
  await expect(findBroker(search)).rejects.toThrow('far enough');
  expect(said.join()).toContain('checksum mismatch, refused');
  expect(existsSync(cachedPath(env))).toBe(false);
  expect(readdirSync(join(root, 'cache'))).toEqual([]);
});
