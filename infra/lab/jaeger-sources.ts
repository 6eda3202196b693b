/** Where a Jaeger can be fetched from. It is 60 MB to download and minutes to build, and the lab runs without. */
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JaegerSearch } from './jaeger-binary.ts';
import { hasGo, type Release, unpackRelease, withoutHosts } from './tool-download.ts';

/**
 * The Jaeger project publishes checksums of the programs, not of the archive. This one is of the archive, as
 * three independent projects pin it. Platforms whose checksum nobody vouches for are left out: a Mac has Homebrew.
 */
export const release: Release = {
  version: '2.20.0',
  baseUrl: 'https://github.com/jaegertracing/jaeger/releases/download',
  archives: {
    'linux-x64': {
      name: 'linux-amd64',
      sha256: 'c967368ba09be356089ef7e8aab2a76d170dc007ff6ccf7925c8167ede2900d7',
    },
  },
};

/**
 * The last one whose version the Go module proxy can serve: v2 tags lack the path suffix that modules need. It
 * holds the same program as 2.13.0, which was released together with it. `sum` is Go's hash of its contents.
 */
const goModule = {
  path: 'github.com/jaegertracing/jaeger',
  version: 'v1.76.0',
  sum: 'h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=',
  builds: 'v2.13.0',
};

const goWithinMs = 600_000;
const outputBytesMax = 16 * 1024 * 1024;
const writable = 0o700;
const run = promisify(execFile);

export async function fromRelease(directory: string, search: JaegerSearch): Promise<string | undefined> {
  const wanted = search.release ?? release;
  const archive = wanted.archives[`${process.platform}-${process.arch}`];
  if (archive === undefined) return undefined;
  search.say(`Jaeger: downloading release ${wanted.version}`);
  const prefix = `jaeger-${wanted.version}-`;
  return join(await unpackRelease(wanted, { prefix, archive }, directory, search.signal), 'jaeger');
}

/**
 * Builds it with the Go that is there, in a copy of the module, so that what it requires is checked against the
 * checksums that the Jaeger project keeps with it. Its pages are not part of the module: the query API is.
 */
export async function fromGo(directory: string, search: JaegerSearch): Promise<string | undefined> {
  const env = { ...process.env, ...search.env } as NodeJS.ProcessEnv;
  if (!(await hasGo(env))) return undefined;
  const { path, version, sum, builds } = goModule;
  search.say(`Jaeger: building ${builds} with Go, which takes some minutes`);
  const options = {
    env,
    timeout: goWithinMs,
    maxBuffer: outputBytesMax,
    ...(search.signal && { signal: search.signal }),
  };
  try {
    const { stdout } = await run('go', ['mod', 'download', '-json', `${path}@${version}`], options);
    const { Dir, Sum } = JSON.parse(stdout) as { Dir: string; Sum: string };
    if (Sum !== sum) throw new Error(`checksum mismatch, refused (wanted ${sum}, got ${Sum})`);
    const source = join(directory, 'source');
    await cp(Dir, source, { recursive: true });
    await makeWritable(source);
    const flags = `-s -w -X ${path}/internal/version.latestVersion=${builds}`;
    const built = join(directory, 'jaeger');
    const args = ['build', '-trimpath', '-buildvcs=false', '-ldflags', flags, '-o', built, './cmd/jaeger'];
    await run('nice', ['go', ...args], { ...options, cwd: source });
    return built;
  } catch (error) {
    throw new Error(`go build failed: ${withoutHosts(error)}`, { cause: error });
  }
}

/** The module cache is read-only, and so is a copy of it: it could not be removed again. */
async function makeWritable(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, writable);
  const entries = await readdir(directory, { withFileTypes: true });
  await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => makeWritable(join(directory, entry.name))),
  );
}
