/** Where the lab looks for the programs that it runs, and where it keeps those that it fetched. */
import { accessSync, constants } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

type Environment = Record<string, string | undefined>;

/** The platform is part of the name, because a home directory may be shared by machines. */
export function cachedTool(env: Environment, name: string): string {
  const base = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache');
  const cache = env.SAGA_LAB_CACHE || join(base, 'saga-lab');
  return join(cache, `${name}-${process.platform}-${process.arch}`);
}

export function toolOnPath(path: string, name: string): string | undefined {
  const candidates = path.split(delimiter).filter((directory) => directory !== '');
  return candidates.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // Absent, or not to be run by this user: the next directory of the PATH may have it.
  }
}

export type Fetching = {
  /** What it is called in what is said. */
  label: string;
  say: (line: string) => void;
  checkedVersion(path: string): Promise<string>;
};

/** Fetches into a directory of this process's own and renames at the end, so that two labs may start at once. */
export async function fetchTool(
  cached: string,
  { label, say, checkedVersion }: Fetching,
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
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
    say(`${label}: version ${version} is in the cache (${seconds} s)`);
    return cached;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
