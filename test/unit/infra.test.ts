/** The choice is asked in a process of its own, because the client remembers the engine that it found. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { Choice } from '../support/infra.ts';

const support = resolve(import.meta.dirname, '../support');
const nowhere = 'example.invalid/no-such-image:1';

/** What `chooseInfra` says with this environment, or what it throws. */
async function choice(env: Record<string, string>): Promise<Choice | string> {
  const script = `
    import { chooseInfra } from './infra.ts';
    const said = await chooseInfra(['${nowhere}']).catch((error) => error.message);
    process.stdout.write(JSON.stringify(said), () => process.exit());
  `;
  const args = ['--input-type=module', '--eval', script];
  const inherited = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '' };
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: support,
    env: { ...inherited, ...env },
  });
  return JSON.parse(stdout) as Choice | string;
}

test('What TEST_INFRA says is done, and what it cannot mean is refused', async () => {
  expect(await choice({ TEST_INFRA: 'embedded' })).toEqual({
    infra: 'embedded',
    why: 'TEST_INFRA=embedded',
  });
  expect(await choice({ TEST_INFRA: 'docker' })).toMatch(/^TEST_INFRA is 'docker': it may be/);
});

test('An image that would have to be pulled is not pulled unasked', async () => {
  const { infra, why } = (await choice({})) as Choice;
  expect(infra).toBe('embedded');
  // With an engine the second, without one the first.
  expect(['no Docker engine answers', `Docker is here without ${nowhere}`]).toContain(
    why.replace(/, testcontainers\/ryuk:\S+/, ''),
  );
});

test('An engine that stands still holds up nobody', async () => {
  await using engine = await standsStill();
  const since = performance.now();
  expect(await choice({ DOCKER_HOST: engine.url })).toEqual({
    infra: 'embedded',
    why: 'no Docker engine answers',
  });
  expect(engine.callers()).toBeGreaterThan(0);
  const withContainers = await choice({ DOCKER_HOST: engine.url, TEST_INFRA: 'containers' });
  expect(withContainers).toBe('TEST_INFRA=containers, and no Docker engine answers');
  expect(performance.now() - since).toBeLessThan(20_000);
}, 30_000);

/** Accepts every connection, and never says a word. */
async function standsStill() {
  let callers = 0;
  const server = createServer((socket) => {
    callers++;
    socket.on('error', () => undefined); // The caller gives up, as it should.
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `tcp://127.0.0.1:${port}`,
    callers: () => callers,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}
