import { existsSync } from 'node:fs';
import { LabError } from './errors.ts';
import { fromDebian, fromGo, fromRelease, release } from './nats-sources.ts';
import { checkedVersion, versionMinOf } from './nats-version.ts';
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
  /** Its nodes must be newer. */
  isCluster?: boolean;
};

type Finder = { name: string; find: (search: BrokerSearch, cached: string) => Promise<string | undefined> };

/** Where the server comes from: first that works. A finder answers undefined when it has nothing to offer. */
const finders: readonly Finder[] = [
  {
    name: 'nats-server on the PATH',
    find: async (search) => toolOnPath(search.env.PATH ?? '', 'nats-server'),
  },
  { name: 'the cache', find: async (_, cached) => (existsSync(cached) ? cached : undefined) },
  {
    name: 'the cache of a broker alone',
    find: async ({ env }, cached) => [cachedPath(env)].find((path) => path !== cached && existsSync(path)),
  },
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
  const { isCluster = false } = search;
  const cached = cachedPath(search.env, isCluster);
  const reasons: string[] = [];
  for (const { name, find } of finders) {
    search.signal?.throwIfAborted();
    try {
      const path = await find(search, cached);
      if (path === undefined) continue;
      return { kind: 'binary', path, version: await checkedVersion(path, isCluster), from: name };
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
      `No NATS server of version ${versionMinOf(isCluster).join('.')} or newer was found, and none could be fetched:`,
      ...(reasons.length === 0 ? ['  nothing on the PATH, nothing in the cache'] : reasons),
      'Install one (macOS: brew install nats-server; with Go:',
      `  go install github.com/nats-io/nats-server/v2@v${release.version}),`,
      'or set NATS_URL to a broker that runs with JetStream.',
    ].join('\n'),
  );
}

export const cachedPath = (env: BrokerSearch['env'], isCluster = false): string =>
  cachedTool(env, isCluster ? 'nats-server-cluster' : 'nats-server');

const fetched = (
  cached: string,
  { say, isCluster = false }: BrokerSearch,
  fetchInto: (directory: string) => Promise<string | undefined>,
) => {
  const fetching = { label: 'NATS', say, checkedVersion: (path: string) => checkedVersion(path, isCluster) };
  return fetchTool(cached, fetching, fetchInto);
};
