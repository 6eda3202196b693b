import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BrokerSearch } from './nats-binary.ts';
import { checkedVersion } from './nats-version.ts';
import { hasGo, type Release, unpackRelease, withoutHosts } from './tool-download.ts';

/**
 * The checksums are those that the official Docker image of this version is built with, as published in
 * docker-library/repo-info, repos/nats/remote/2.12-alpine.md. It names Linux only: a Mac uses Homebrew or Go.
 */
export const release: Release = {
  version: '2.12.15',
  baseUrl: 'https://github.com/nats-io/nats-server/releases/download',
  archives: {
    'linux-x64': {
      name: 'linux-amd64',
      sha256: '58ab8131f819263897e2fc38e503e1b755b63bcafeecc7d12582487df48ca15e',
    },
    'linux-arm64': {
      name: 'linux-arm64',
      sha256: 'b724db99fefbf8f5c808baa82819ee50350aee9734017e4a478f7e545cef3ab6',
    },
  },
};

const aptWithinMs = 60_000;
const goWithinMs = 600_000;
/** Tried in this order: the oldest that is new enough is the most proven one. */
const suites = ['trixie', 'forky', 'sid'] as const;
const run = promisify(execFile);

/** Downloads the pinned archive, and refuses it when it is not byte for byte the one that was published. */
export async function fromRelease(directory: string, search: BrokerSearch): Promise<string | undefined> {
  const wanted = search.release ?? release;
  const { version, archives } = wanted;
  const archive = archives[`${process.platform}-${process.arch}`];
  if (archive === undefined) return undefined;
  search.say(`NATS: downloading release ${version}`);
  const prefix = `nats-server-v${version}-`;
  const folder = await unpackRelease(wanted, { prefix, archive }, directory, search.signal);
  return join(folder, 'nats-server');
}

/**
 * Takes the package of a newer Debian suite from the mirror that this machine uses already, with lists and
 * caches of its own: nothing is installed, the machine's apt state is not touched, and no root is needed.
 */
export async function fromDebian(directory: string, search: BrokerSearch): Promise<string | undefined> {
  const osRelease = process.platform === 'linux' ? await readFile('/etc/os-release', 'utf8') : '';
  if (!/^ID=debian$/m.test(osRelease)) return undefined;
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(osRelease)?.[1] ?? 'stable';
  const mirror = await debianMirror(directory, codename);
  if (mirror === undefined) throw new Error('the apt sources of this machine name no Debian mirror');
  const failures: string[] = [];
  for (const suite of suites) {
    search.say(`NATS: fetching the package of Debian ${suite}`);
    try {
      const path = await packageOf(suite, mirror, join(directory, suite), search.signal);
      await checkedVersion(path, search.isCluster ?? false);
      return path;
    } catch (error) {
      search.signal?.throwIfAborted();
      failures.push(`${suite}: ${withoutHosts(error)}`);
    }
  }
  throw new Error(failures.join('; '));
}

async function debianMirror(directory: string, codename: string): Promise<string | undefined> {
  const lists = join(directory, 'own');
  await mkdir(join(lists, 'partial'), { recursive: true });
  // `--print-uris` contacts nobody; with empty lists it names the index of every source.
  const args = ['-o', `Dir::State::lists=${lists}`, '-o', 'Debug::NoLocking=true', 'update', '--print-uris'];
  const { stdout } = await run('apt-get', args, { timeout: aptWithinMs });
  const index = new RegExp(`^'(\\S+?)/dists/(?:${codename}|stable)/InRelease'`, 'm');
  return index.exec(stdout)?.[1];
}

async function packageOf(
  suite: string,
  mirror: string,
  root: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  await mkdir(join(root, 'lists/partial'), { recursive: true });
  await mkdir(join(root, 'cache/archives/partial'), { recursive: true });
  await mkdir(join(root, 'sources'), { recursive: true });
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const source = [
    'Types: deb',
    `URIs: ${mirror}`,
    `Suites: ${suite}`,
    'Components: main',
    `Signed-By: ${keyring}`,
  ];
  await writeFile(join(root, 'sources/suite.sources'), `${source.join('\n')}\n`);
  const config = join(root, 'apt.conf');
  await writeFile(config, aptConfiguration(root));
  const env = { ...process.env, APT_CONFIG: config, LC_ALL: 'C' };
  const options = { cwd: root, timeout: aptWithinMs, env, ...(signal && { signal }) };
  await run('apt-get', ['-qq', '-o', 'APT::Update::Error-Mode=any', 'update'], options);
  await run('apt-get', ['-qq', 'download', 'nats-server'], options);
  const archive = (await readdir(root)).find((name) => name.endsWith('.deb'));
  if (archive === undefined) throw new Error('apt downloaded nothing');
  await run('dpkg-deb', ['-x', archive, 'package'], options);
  // Debian has moved programs between these two directories before.
  const found = ['usr/sbin', 'usr/bin']
    .map((bin) => join(root, 'package', bin, 'nats-server'))
    .find(existsSync);
  if (found === undefined) throw new Error('the package holds no nats-server');
  return found;
}

/** A mirror may be a snapshot whose indexes have run out; the signatures are verified all the same. */
const aptConfiguration = (root: string): string => `Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "${root}/sources/";
Dir::State::lists "${root}/lists";
Dir::Cache "${root}/cache";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
`;

/** Builds it with the Go that is there, into the cache; the module proxy's checksums are Go's own affair. */
export async function fromGo(directory: string, search: BrokerSearch): Promise<string | undefined> {
  const env = { ...process.env, GOBIN: directory };
  if (!(await hasGo(env))) return undefined;
  search.say(`NATS: building ${release.version} with go install, which takes a minute or more`);
  const module = `github.com/nats-io/nats-server/v2@v${release.version}`;
  try {
    await run('go', ['install', module], {
      env,
      timeout: goWithinMs,
      ...(search.signal && { signal: search.signal }),
    });
  } catch (error) {
    throw new Error(`go install failed: ${withoutHosts(error)}`, { cause: error });
  }
  return join(directory, 'nats-server');
}
