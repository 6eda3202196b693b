import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { LabError, systemCode } from './errors.ts';
import { endProcess } from './process.ts';
import { type Identity, identify, isAlive } from './process-table.ts';
import type { PartSpec } from './supervisor.ts';
import { repository } from './topology.ts';

/** What other commands need to know of a running lab. The file holds passwords: only its owner may read it. */
export type LabState = {
  url: string;
  /** Of every gateway, the public one first. */
  urls: readonly string[];
  home: string;
  launcher: Identity;
  startedAt: string;
  databases: Record<string, { url: string; auditUrl: string }>;
  /** Of all its nodes, with commas between. */
  nats: { url: string; monitorUrl: string };
  /** Where traces can be read, when a Jaeger was found. */
  jaegerUrl: string | null;
  parts: Record<string, PartState>;
  /** The Unix socket at which the launcher takes commands. */
  control: string;
};

export type PartState = {
  kind: PartSpec['kind'];
  port: number;
  /** The process now, or null while the part is down. */
  process: Identity | null;
  log: string;
};

const lockTriesMax = 3;
const leftoverWithinMs = 4_000;

/** `--home`, else SAGA_LAB_HOME, else `.lab` in the checkout. */
export function homeDirectory(given: string | undefined): string {
  return resolve(given ?? process.env.SAGA_LAB_HOME ?? join(repository, '.lab'));
}

/** Takes the home for this process, or refuses when a living launcher has it. Returns how to give it back. */
export async function takeHome(home: string): Promise<() => void> {
  const lock = join(home, 'lab.lock');
  const mine = identify(process.pid);
  const draft = join(home, `.lock-${process.pid}-${Math.trunc(performance.now())}`);
  try {
    for (const directory of ['.', 'logs', 'run']) mkdirSync(join(home, directory), { recursive: true });
    writeFileSync(draft, JSON.stringify(mine));
  } catch (error) {
    const text = `${home} cannot be written (${systemCode(error)}): choose another directory with --home`;
    throw new LabError('home-not-writable', text, { cause: error });
  }
  try {
    for (let attempt = 1; attempt <= lockTriesMax; attempt += 1) {
      // A link appears with its content complete; an exclusive create could be read while it is still empty.
      if (linkTo(draft, lock)) return () => rmSync(lock, { force: true });
      const owner = readJson<Identity>(lock);
      if (owner !== undefined && isAlive(owner)) throw inUse(home, owner);
      // The launcher was killed. Whoever moves its lock away first may try for it again.
      if (owner !== undefined) moveAway(lock, `${draft}.stale`);
    }
    throw new LabError('home-in-use', `another lab is starting in ${home} at this moment`);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Ends what a killed launcher left behind, by pid and start time, so that no stranger is ever hit. */
export async function reapLeftovers(home: string): Promise<string[]> {
  const run = join(home, 'run');
  const files = readdirSync(run).filter((name) => name.endsWith('.json'));
  const reaped = await Promise.all(
    files.map(async (file) => {
      const identity = readJson<Identity>(join(run, file));
      const isLeft = identity !== undefined && isAlive(identity);
      // PostgreSQL takes SIGINT as a fast shutdown; services and the broker end on it as well.
      if (isLeft) await endProcess(identity, 'SIGINT', leftoverWithinMs);
      rmSync(join(run, file), { force: true });
      return isLeft ? [file.replace(/\.json$/, '')] : [];
    }),
  );
  return reaped.flat();
}

export const stateFile = (home: string): string => join(home, 'state.json');

/** Written under another name and renamed, so that nobody reads half of it. */
export function writeState(state: LabState): void {
  const draft = `${stateFile(state.home)}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, stateFile(state.home));
}

/** Whether a launcher was here and died without giving the home back. */
export function isAbandoned(home: string): boolean {
  const owner = readJson<Identity>(join(home, 'lab.lock'));
  return owner !== undefined && !isAlive(owner);
}

/** The lab that runs in this home. Throws `not-running` when none does. */
export function runningLab(home: string): LabState {
  const state = readJson<LabState>(stateFile(home));
  if (state !== undefined && isAlive(state.launcher)) return state;
  throw new LabError('not-running', `No lab is running in ${home}. Start one with: npm start`);
}

function inUse(home: string, owner: Identity): LabError {
  const url = readJson<LabState>(stateFile(home))?.url;
  const where = url === undefined ? '' : ` at ${url}`;
  const text = `A lab is running${where} already (pid ${owner.pid}, home ${home}). Stop it with: npx lab down`;
  return new LabError('home-in-use', text);
}

function linkTo(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

function moveAway(lock: string, to: string): void {
  try {
    renameSync(lock, to);
    rmSync(to);
  } catch (error) {
    // Another starter was faster, and the next try shows whether it lives.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch (error) {
    // A file that a power cut left empty or torn says nothing, like one that does not exist.
    if (systemCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
