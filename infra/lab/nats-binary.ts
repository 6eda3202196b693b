import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { LabError } from './errors.ts';
import { fromDebian, fromGo, fromRelease, release } from './nats-sources.ts';
import { cachedTool, fetchTool, toolOnPath } from './tool-cache.ts';
import type { Release } from './tool-download.ts';

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
const versionMin = [2, 10] as const;
const versionWithinMs = 5_000;
const run = promisify(execFile);

/** Where the server comes from: first that works. A finder answers undefined when it has nothing to offer. */
const finders: readonly Finder[] = [
  {
    name: 'nats-server on the PATH',
    find: async (search) => toolOnPath(search.env.PATH ?? '', 'nats-server'),
  },
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

export const cachedPath = (env: BrokerSearch['env']): string => cachedTool(env, 'nats-server');

const fetched = (
  cached: string,
  { say }: BrokerSearch,
  fetchInto: (directory: string) => Promise<string | undefined>,
) => fetchTool(cached, { label: 'NATS', say, checkedVersion }, fetchInto);

/** Runs the program: a binary of another platform or a broken download must not get as far as being started. */
async function checkedVersion(path: string): Promise<string> {
  const { stdout } = await run(path, ['--version'], { timeout: versionWithinMs, env: {} });
  const [, text = '', major = 0, minor = 0] = /v?((\d+)\.(\d+)\.[\w.-]+)/.exec(stdout) ?? [];
  const isEnough =
    Number(major) > versionMin[0] || (Number(major) === versionMin[0] && Number(minor) >= versionMin[1]);
  if (isEnough) return text;
  throw new Error(`version ${text || 'unknown'} is too old, ${versionMin.join('.')} is needed`);
}
