import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const directory = mkdtempSync(join(tmpdir(), 'config-'));
afterAll(() => rmSync(directory, { recursive: true }));

const program = `
  import { readConfig, serviceConfig } from './libs/service/config.ts';
  console.log(JSON.stringify(readConfig(serviceConfig)));
`;

/** In a process of its own, because a bad configuration ends it. */
async function read(environment: Record<string, string>) {
  const env = { PATH: process.env.PATH ?? '', SERVICE_PORT: '28999', ...environment };
  const args = ['--input-type=module-typescript', '-e', program];
  return promisify(execFile)(process.execPath, args, { cwd: root, env }).then(
    ({ stdout }) => ({ code: 0, config: JSON.parse(stdout), stderr: '' }),
    ({ code, stderr }) => ({ code, config: undefined, stderr: stderr as string }),
  );
}

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

test('A variable may come from a file, without the white space around it', async () => {
  const { config } = await read({
    DATABASE_URL_FILE: file('database', '\n  postgres://order:secret@order-db/order \n'),
    NATS_URL: 'nats://127.0.0.1:4222',
    DATABASE_CONNECTIONS_MAX_FILE: file('number', '7\n'),
  });
  expect(config).toMatchObject({
    DATABASE_URL: 'postgres://order:secret@order-db/order',
    DATABASE_CONNECTIONS_MAX: 7,
  });
});

test('An empty file is as good as none', async () => {
  const environment = { DATABASE_URL: 'postgres://x', NATS_URL: 'nats://x' };
  const { config } = await read({ ...environment, ADMIN_TOKEN_FILE: file('token', '\n') });
  expect(config).not.toHaveProperty('ADMIN_TOKEN');
  const bad = await read({ ...environment, ADMIN_TOKEN_FILE: file('short', 'not-to-be-told') });
  expect(bad.code).toBe(2);
  expect(bad.stderr).toContain('ADMIN_TOKEN: ');
  expect(bad.stderr).not.toContain('not-to-be-told');
});

test('A file that cannot be read, and a variable that is given twice, stop the process', async () => {
  const { code, stderr } = await read({
    DATABASE_URL_FILE: join(directory, 'not-there'),
    NATS_URL: 'nats://x',
    NATS_URL_FILE: file('nats', 'nats://y'),
  });
  expect(code).toBe(2);
  expect(stderr).toContain('environment: DATABASE_URL_FILE: cannot be read (ENOENT)\n');
  expect(stderr).toContain('environment: NATS_URL: given twice, here and in NATS_URL_FILE\n');
});
