/** A broker that acknowledges before it syncs, and services started against it by hand. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOk } from '#lab/nats.ts';
import { findBroker } from '#lab/nats-binary.ts';
import { repository } from '#lab/topology.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { eventually } from './eventually.ts';

export type UnsafeBroker = { url: string; monitorUrl: string; [Symbol.asyncDispose](): Promise<void> };

export async function startUnsafeBroker(port: number): Promise<UnsafeBroker> {
  const broker = await findBroker({ env: { ...process.env, NATS_URL: undefined }, say: () => {} });
  if (broker.kind !== 'binary') throw new Error('no broker to start');
  const home = mkdtempSync(join(tmpdir(), 'saga-unsafe-'));
  const file = join(home, 'nats.conf');
  const listen = `listen: "127.0.0.1:${port}"\nhttp: "127.0.0.1:${port + 1}"\n`;
  writeFileSync(file, `${listen}jetstream { store_dir: ${JSON.stringify(join(home, 'store'))} }\n`);
  const child = spawn(broker.path, ['--config', file], { stdio: 'ignore' });
  const monitorUrl = `http://127.0.0.1:${port + 1}`;
  await eventually('the unsafe broker answers', () => isOk(`${monitorUrl}/healthz`));
  const url = `nats://127.0.0.1:${port}`;
  await provisionBroker({ url, replicas: 1 });
  return {
    url,
    monitorUrl,
    async [Symbol.asyncDispose]() {
      await ended(child, 'SIGKILL');
      rmSync(home, { recursive: true, force: true });
    },
  };
}

export type StartedService = {
  /** Resolves when it has ended, with its exit code and what it printed. */
  exited: Promise<{ code: number | null; output: string }>;
  stop(): Promise<void>;
};

export function startService(name: string, env: Record<string, string>): StartedService {
  const child = spawn(process.execPath, [join(repository, `services/${name}/main.ts`)], {
    cwd: repository,
    env: { PATH: process.env.PATH ?? '', OTEL_SDK_DISABLED: 'true', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  return {
    exited: new Promise((resolve) => child.once('close', (code) => resolve({ code, output }))),
    stop: () => ended(child, 'SIGKILL'),
  };
}

export function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}
