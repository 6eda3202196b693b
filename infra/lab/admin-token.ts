/**
 * The admin token of a home: what forces a branch in doubt, and other things that only an operator may do. It
 * is made once, and stands beside the passwords in a file that only its owner may read, never in the state.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError, systemCode } from './errors.ts';

const tokenBytes = 32;
const ownerOnly = 0o600;
const fileOf = (home: string): string => join(home, 'admin-token');

/** The token of this home, made when there is none. For the launcher, which alone has the home. */
export function makeAdminToken(home: string): string {
  const file = fileOf(home);
  const kept = read(file);
  if (kept !== undefined) {
    // Somebody may have copied the home about: what was readable by others is closed again.
    chmodSync(file, ownerOnly);
    return kept;
  }
  const token = randomBytes(tokenBytes).toString('hex');
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${token}\n`, { mode: ownerOnly });
  renameSync(draft, file);
  return token;
}

/** For commands. Throws `not-running` where no lab was ever started. */
export function readAdminToken(home: string): string {
  const token = read(fileOf(home));
  if (token !== undefined) return token;
  throw new LabError('not-running', `There is no admin token in ${home}: no lab was started there`);
}

/** A file that a power cut left empty or torn holds no token. */
function read(file: string): string | undefined {
  try {
    const text = readFileSync(file, 'utf8').trim();
    return text.length === tokenBytes * 2 ? text : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
