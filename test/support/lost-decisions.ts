/** The coordinator's database put back to an older copy, and what an operator does about it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runningLab } from '#lab/home.ts';
import { repository } from '#lab/topology.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { system } from './api.ts';
import { portOf } from './control.ts';
import { control } from './outside.ts';
import { ask } from './service.ts';

const database = 'coordinator-db';
const files = join(system.home, 'postgres', 'coordinator');
const copy = join(system.home, 'older-log');
const acceptMsMax = 20_000;

/** With owners and permissions, which PostgreSQL insists on. */
const put = (from: string, to: string) => {
  rmSync(to, { recursive: true, force: true });
  execFileSync('cp', ['-a', from, to]);
};

/** Stopped in good order, so that the copy is a whole database. */
export async function copyLog(): Promise<void> {
  await control.act(database, 'stop');
  put(files, copy);
  await control.act(database, 'start');
}

/** The coordinator is killed first: it starts with the older log, as it would after a restore. */
export async function rollBackLog(): Promise<void> {
  await control.act('coordinator', 'kill', { hold: true });
  await control.act(database, 'stop');
  put(copy, files);
  await control.act(database, 'start');
  await control.act('coordinator', 'start');
}

export async function logDetail(): Promise<string> {
  const { text } = await ask('coordinator', 'GET', '/readyz');
  return JSON.parse(text).detail.decisionLog;
}

export const coordinatorLog = () =>
  readFileSync(runningLab(system.home).parts.coordinator?.log ?? '', 'utf8');

/** As an operator runs it beside the coordinator; gives what it says it has done. */
export function acceptTestimony(): { transactionId: string; committedBy: string[]; decision: string }[] {
  const urls = participantNames.map((name) => [
    `${name.toUpperCase()}_URL`,
    `http://127.0.0.1:${portOf(name)}`,
  ]);
  const env = {
    PATH: process.env.PATH ?? '',
    NATS_URL: system.nats.url,
    SERVICE_PORT: String(portOf('coordinator')),
    DATABASE_URL: system.databases.coordinator?.url ?? '',
    ...Object.fromEntries(urls),
  };
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [join(repository, 'services/coordinator/accept.ts')],
    { cwd: repository, env, encoding: 'utf8', timeout: acceptMsMax },
  );
  if (status !== 0) throw new Error(`accept ended with ${status}: ${stderr}`);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line));
}
