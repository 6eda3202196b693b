import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from './errors.ts';
import { descendants, type Identity, identify, isAlive, standsStill } from './process-table.ts';

export type Exit = { code: number | null; signal: NodeJS.Signals | null };

export type Running = {
  identity: Identity;
  startedAtMs: number;
  exited: Promise<Exit>;
};

export type SpawnSpec = {
  command: string;
  args: readonly string[];
  env: Record<string, string>;
  cwd: string;
  logFile: string;
  pidFile: string;
};

const logBytesMax = 20_000_000;
const gonePollMs = 20;
/** A child that was being born at the first look is there at the second. */
const looksMax = 3;

/**
 * Starts a process in a group of its own, so that Ctrl-C of the terminal reaches only the launcher, which
 * then stops everything in the right order. Output goes to a file, never to a pipe: a pipe to a launcher
 * that was killed would take the process down at its next log line.
 */
export async function spawnDetached(spec: SpawnSpec): Promise<Running> {
  rotate(spec.logFile);
  const log = openSync(spec.logFile, 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(spec.command, spec.args, {
      cwd: spec.cwd,
      env: spec.env,
      detached: true,
      stdio: ['ignore', log, log],
    });
  } finally {
    closeSync(log);
  }
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      rmSync(spec.pidFile, { force: true });
      resolve({ code, signal });
    });
  });
  await new Promise<void>((resolve, reject) => {
    // A missing or unreachable binary emits `error` and never `exit`.
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const pid = child.pid as number;
  // A process that ended already has no start time left; its pid alone is enough to name it in a message.
  const identity = identify(pid) ?? { pid, startedTicks: 'gone' };
  if (identity.startedTicks !== 'gone') {
    writeFileSync(spec.pidFile, JSON.stringify(identity), { mode: 0o600 });
  }
  return { identity, startedAtMs: Date.now(), exited };
}

/**
 * Sends a signal to a process that is certainly still the one that was meant. SIGKILL, SIGSTOP and SIGCONT
 * reach its descendants too, because the backends of PostgreSQL each lead a process group of their own.
 */
export function signalProcess(identity: Identity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  if (signal === 'SIGCONT') {
    for (const pid of [...descendants(identity.pid).reverse(), identity.pid]) send(pid, signal);
    return;
  }
  if (signal !== 'SIGKILL' && signal !== 'SIGSTOP') {
    send(identity.pid, signal);
    return;
  }
  // All are stopped first, the parent before its children: then none can fork one that the list would miss.
  send(identity.pid, 'SIGSTOP');
  let known: number[] = [];
  for (let look = 1; look <= looksMax; look += 1) {
    const found = descendants(identity.pid);
    if (found.length === known.length) break;
    for (const pid of found) send(pid, 'SIGSTOP');
    known = found;
  }
  if (signal === 'SIGKILL') for (const pid of [identity.pid, ...known]) send(pid, signal);
}

/** True when the process was gone within the time; a zombie counts as gone. */
export async function waitGone(identity: Identity, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (isAlive(identity)) {
    if (Date.now() > deadline) return false;
    await delay(gonePollMs);
  }
  return true;
}

/** True when it stood still, with all its descendants, within the time; one that has gone never does. */
export async function waitStill(identity: Identity, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  const isStill = (pid: number) => {
    const each = identify(pid);
    return each === undefined || standsStill(each);
  };
  while (!standsStill(identity) || !descendants(identity.pid).every(isStill)) {
    if (Date.now() > deadline || !isAlive(identity)) return false;
    await delay(gonePollMs);
  }
  return true;
}

/** Asks, waits, then kills. Continues a paused process first: it could not hear the request otherwise. */
export async function endProcess(
  identity: Identity,
  signal: NodeJS.Signals,
  withinMs: number,
): Promise<void> {
  signalProcess(identity, 'SIGCONT');
  signalProcess(identity, signal);
  if (await waitGone(identity, withinMs)) return;
  signalProcess(identity, 'SIGKILL');
  await waitGone(identity, withinMs);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It ended between the look and the signal, which is what a signal is for anyway.
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

function rotate(logFile: string): void {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size > logBytesMax) renameSync(logFile, `${logFile}.1`);
}
