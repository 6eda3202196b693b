import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from './errors.ts';
import { fromDebian, fromGo, fromRelease, type Release, release } from './nats-sources.ts';

/** A broker that somebody else runs, or a program to start one. */
export type Broker =
  | { kind: 'external'; url: string }
  | { kind: 'binary'; path: string; version: string; from: string };

export type BrokerSearch = {
  env: Record<string, string | undefined>;
  say: (line: string) => void;
  /** Gives up what is being fetched. */
  signal?: AbortSignal | undefined;
  /** Injected by tests; everyone else takes the pinned release. */
  release?: Release;
};

type Finder = { name: string; find: (search: BrokerSearch, cached: string) => Promise<string | undefined> };

/** `sync_interval: always`, without which an acknowledged message can be lost in a power cut, came with 2.10. */
export const versionMin = [2, 10] as const;
const versionWithinMs = 5_000;
const run = promisify(execFile);

/** Where the server comes from: first that works. A finder answers undefined when it has nothing to offer. */
const finders: readonly Finder[] = [
  { name: 'nats-server on the PATH', find: async (search) => onPath(search.env.PATH ?? '') },
  { name: 'the cache', find: async (_, cached) => (existsSync(cached) ? cached : undefined) },
  {
    name: `the NATS release ${release.version}`,
    find: (search, cached) => fetched(cached, search, (directory) => fromRelease(directory, search)),
  },
  {
    name: 'a Debian package of a newer suite',
    find: (search, cached) => fetched(cached, search, (directory) => fromDebian(directory, search)),
  },
  {
    name: 'go install',
    find: (search, cached) => fetched(cached, search, (directory) => fromGo(directory, search)),
  },
];

/** Finds a NATS server, or fetches one into the cache; says what it does, because fetching takes seconds. */
export async function findBroker(search: BrokerSearch): Promise<Broker> {
  if (search.env.NATS_URL) return { kind: 'external', url: search.env.NATS_URL };
  const cached = cachedPath(search.env);
  const reasons: string[] = [];
  for (const { name, find } of finders) {
    search.signal?.throwIfAborted();
    try {
      const path = await find(search, cached);
      if (path === undefined) continue;
      return { kind: 'binary', path, version: await checkedVersion(path), from: name };
    } catch (error) {
      search.signal?.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      search.say(`NATS: ${name}: ${reason}; trying the next way`);
      reasons.push(`  ${name}: ${reason}`);
    }
  }
  throw new LabError(
    'broker-missing',
    [
      `No NATS server of version ${versionMin.join('.')} or newer was found, and none could be fetched:`,
      ...(reasons.length === 0 ? ['  nothing on the PATH, nothing in the cache'] : reasons),
      'Install one (macOS: brew install nats-server; with Go:',
      `  go install github.com/nats-io/nats-server/v2@v${release.version}),`,
      'or set NATS_URL to a broker that runs with JetStream.',
    ].join('\n'),
  );
}

/** The platform is part of the name, because a home directory may be shared by machines. */
export function cachedPath(env: Record<string, string | undefined>): string {
  const base = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache');
  const cache = env.SAGA_LAB_CACHE || join(base, 'saga-lab');
  return join(cache, `nats-server-${process.platform}-${process.arch}`);
}

function onPath(path: string): string | undefined {
  const candidates = path.split(delimiter).filter((directory) => directory !== '');
  return candidates.map((directory) => join(directory, 'nats-server')).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // Absent, or not to be run by this user: the next directory of the PATH may have it.
  }
}

/** Fetches into a directory of this process's own and renames at the end, so that two labs may start at once. */
async function fetched(
  cached: string,
  search: BrokerSearch,
  fetchInto: (directory: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const directory = `${cached}.${process.pid}.tmp`;
  await mkdir(directory, { recursive: true });
  try {
    const startedMs = Date.now();
    const path = await fetchInto(directory);
    if (path === undefined) return undefined;
    const version = await checkedVersion(path);
    await rename(path, cached);
    search.say(
      `NATS: version ${version} is in the cache (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`,
    );
    return cached;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs the program: a binary of another platform or a broken download must not get as far as being started. */
async function checkedVersion(path: string): Promise<string> {
  const { stdout } = await run(path, ['--version'], { timeout: versionWithinMs, env: {} });
  const [, text = '', major = 0, minor = 0] = /v?((\d+)\.(\d+)\.[\w.-]+)/.exec(stdout) ?? [];
  const isEnough =
    Number(major) > versionMin[0] || (Number(major) === versionMin[0] && Number(minor) >= versionMin[1]);
  if (isEnough) return text;
  throw new Error(`version ${text || 'unknown'} is too old, ${versionMin.join('.')} is needed`);
}
