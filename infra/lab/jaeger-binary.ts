import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { fromGo, fromRelease, release } from './jaeger-sources.ts';
import { cachedTool, fetchTool, toolOnPath } from './tool-cache.ts';
import type { Release } from './tool-download.ts';

export type JaegerSearch = {
  env: Record<string, string | undefined>;
  say: (line: string) => void;
  signal?: AbortSignal | undefined;
  /** Also builds it with Go, when nothing else gives one: minutes, which a start does not have. */
  build?: boolean;
  /** Injected by tests; everyone else takes the pinned release. */
  release?: Release;
};

export type JaegerBinary = { path: string; version: string; from: string };

const versionWithinMs = 10_000;
/** A site that cannot be reached is not asked again at every start. */
const unreachableForMs = 60 * 60 * 1_000;
const run = promisify(execFile);

export const cachedJaeger = (env: JaegerSearch['env']): string => cachedTool(env, 'jaeger');

type Finder = { name: string; find: (search: JaegerSearch, cached: string) => Promise<string | undefined> };

const finders: readonly Finder[] = [
  { name: 'jaeger on the PATH', find: async ({ env }) => toolOnPath(env.PATH ?? '', 'jaeger') },
  { name: 'the cache', find: async (_, cached) => (existsSync(cached) ? cached : undefined) },
  { name: `the Jaeger release ${release.version}`, find: downloaded },
  {
    name: 'go build',
    find: async (search, cached) =>
      search.build ? fetched(cached, search, (directory) => fromGo(directory, search)) : undefined,
  },
];

/** A Jaeger 2 to start, or undefined: traces are read in one, but nothing needs it. */
export async function findJaeger(search: JaegerSearch): Promise<JaegerBinary | undefined> {
  const cached = cachedJaeger(search.env);
  for (const { name, find } of finders) {
    search.signal?.throwIfAborted();
    try {
      const path = await find(search, cached);
      if (path === undefined) continue;
      return { path, version: await checkedVersion(path), from: name };
    } catch (error) {
      search.signal?.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      search.say(`Jaeger: ${name}: ${reason}`);
    }
  }
  return undefined;
}

const fetched = (
  cached: string,
  { say }: JaegerSearch,
  fetchInto: (directory: string) => Promise<string | undefined>,
) => fetchTool(cached, { label: 'Jaeger', say, checkedVersion }, fetchInto);

async function downloaded(search: JaegerSearch, cached: string): Promise<string | undefined> {
  const stamp = `${cached}.unreachable`;
  const triedMs = await stat(stamp).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0, // Never tried in vain.
  );
  if (Date.now() - triedMs < unreachableForMs) return undefined;
  try {
    return await fetched(cached, search, (directory) => fromRelease(directory, search));
  } catch (error) {
    await mkdir(dirname(stamp), { recursive: true });
    await writeFile(stamp, '');
    throw error;
  }
}

/** Runs the program. Jaeger 1 had another configuration, and other programs are called so as well. */
async function checkedVersion(path: string): Promise<string> {
  const { stdout } = await run(path, ['version'], { timeout: versionWithinMs, env: {} });
  const version = /"gitVersion":\s*"v?(\d+\.\d+[\w.-]*)"/.exec(stdout)?.[1] ?? 'unknown';
  if (version.startsWith('2.')) return version;
  throw new Error(`version ${version} is not Jaeger 2`);
}
