import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import * as down from '../../infra/lab/commands/down.ts';
import { launchLab } from '../../infra/lab/launch.ts';
import { eventually, openPorts, type Place, place, processesOf, tinyTopology } from './support.ts';

const slowMs = 30_000;
const launcher = fileURLToPath(new URL('fixtures/launcher.ts', import.meta.url));
let child: ChildProcess | undefined;

afterEach(() => child?.kill('SIGKILL'));

async function start(at: Place, ...paused: string[]): Promise<ChildProcess> {
  child = spawn(process.execPath, [launcher, at.home, String(at.portBase), ...paused], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child?.stdout?.on('data', (text) => String(text).startsWith('ready') && resolve());
    child?.once('exit', (code) => reject(new Error(`the launcher ended with ${code}`)));
  });
  return child;
}

test('kill -9 of the launcher leaves no process, and the next start works', { timeout: slowMs }, async () => {
  await using at = await place();
  (await start(at)).kill('SIGKILL');
  await eventually('no process of the lab', () => processesOf(at.home).length === 0);
  expect(await openPorts(at)).toEqual([]);
  // What a crash of the machine leaves: a postmaster.pid whose pid is somebody else's by now, here this test's.
  const pidFile = join(at.home, 'postgres/order/postmaster.pid');
  writeFileSync(pidFile, `${process.pid}\n${join(at.home, 'postgres/order')}\n`);
  const lab = await launchLab({ home: at.home, portBase: at.portBase, parts: tinyTopology });
  try {
    await lab.ready();
    expect(Number(readFileSync(pidFile, 'utf8').split('\n')[0])).not.toBe(process.pid);
  } finally {
    await lab.close();
  }
  expect(processesOf(at.home)).toEqual([]);
});

test('SIGTERM of the launcher stops all in good order', { timeout: slowMs }, async () => {
  await using at = await place();
  const running = await start(at);
  const exited = new Promise((resolve) => running.once('exit', (code) => resolve(code)));
  running.kill('SIGTERM');
  expect(await exited).toBe(0);
  expect(processesOf(at.home)).toEqual([]);
  expect(existsSync(join(at.home, 'lab.lock'))).toBe(false);
  expect(existsSync(join(at.home, 'state.json'))).toBe(false);
});

test('what the kernel could not end, because it was paused, is ended by down', {
  timeout: slowMs,
}, async () => {
  await using at = await place();
  const running = await start(at, 'order', 'order-db', 'nats');
  const exited = new Promise((resolve) => running.once('exit', resolve));
  running.kill('SIGKILL');
  await exited;
  await eventually('the rest has gone', () => !processesOf(at.home).join().includes('postgres/payment'));
  const lines: string[] = [];
  const io = { home: at.home, out: (line: string) => lines.push(line), err: () => undefined };
  expect(await down.run({ values: {}, positionals: [] }, io)).toBe(0);
  expect(lines.join()).toMatch(/ended what a killed lab left: .*order-db/);
  expect(processesOf(at.home)).toEqual([]);
});
