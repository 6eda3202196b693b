/** Where a Jaeger is found, in which order, and what is refused. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cachedJaeger, findJaeger } from '#lab/jaeger-binary.ts';
import type { Release } from '#lab/tool-download.ts';

let root: string;
let env: Record<string, string>;
let downloads = 0;
const said: string[] = [];
const say = (line: string) => said.push(line);
const key = `${process.platform}-${process.arch}`;
const nowhere: Release = { version: '2.0.0', baseUrl: 'http://127.0.0.1:1', archives: {} };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'saga-lab-jaeger-'));
  env = { SAGA_LAB_CACHE: join(root, 'cache'), PATH: join(root, 'bin') };
  said.length = 0;
  downloads = 0;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function pretend(file: string, version: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\necho '{"gitCommit":"","gitVersion":"v${version}","buildDate":""}'\n`);
  chmodSync(file, 0o755);
  return file;
}

/** A release site on this machine; `sha256` is what the pin says, the archive's own unless given. */
async function site(version: string, pinned?: string) {
  const folder = `jaeger-${version}-test`;
  pretend(join(root, folder, 'jaeger'), version);
  execFileSync('tar', ['-czf', 'archive.tar.gz', folder], { cwd: root });
  const archive = readFileSync(join(root, 'archive.tar.gz'));
  const server = createServer((request, response) => {
    downloads += 1;
    response.statusCode = request.url === `/v${version}/${folder}.tar.gz` ? 200 : 404;
    response.end(archive);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const sha256 = pinned ?? createHash('sha256').update(archive).digest('hex');
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const release: Release = { version, baseUrl, archives: { [key]: { name: 'test', sha256 } } };
  return {
    release,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

test('The PATH comes before the cache, and a Jaeger 1 is passed over and said', async () => {
  const onPath = pretend(join(root, 'bin/jaeger'), '2.9.0');
  const cached = pretend(cachedJaeger(env), '2.13.0');
  expect(await findJaeger({ env, say, release: nowhere })).toMatchObject({ path: onPath, version: '2.9.0' });
  pretend(onPath, '1.62.0');
  expect(await findJaeger({ env, say, release: nowhere })).toMatchObject({ path: cached, version: '2.13.0' });
  expect(said.join()).toContain('version 1.62.0 is not Jaeger 2');
});

test('The release goes into the cache when its checksum is the pinned one', async () => {
  await using here = await site('2.20.0');
  const { release } = here;
  expect(await findJaeger({ env, say, release })).toMatchObject({
    path: cachedJaeger(env),
    version: '2.20.0',
  });
  expect(await findJaeger({ env, say, release })).toMatchObject({ from: 'the cache' });
  expect(downloads).toBe(1);
});

test('Another archive is refused, kept nowhere, and not asked for again at the next start', async () => {
  await using here = await site('2.20.0', 'a'.repeat(64));
  const { release } = here;
  expect(await findJaeger({ env, say, release })).toBeUndefined();
  expect(said.join()).toContain('checksum mismatch, refused');
  expect(existsSync(cachedJaeger(env))).toBe(false);
  expect(await findJaeger({ env, say, release })).toBeUndefined();
  expect(downloads).toBe(1);
});

test('Without a Go even a build ends in none, and nothing is thrown', async () => {
  expect(await findJaeger({ env, say, release: nowhere, build: true })).toBeUndefined();
});
