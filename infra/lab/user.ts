import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './errors.ts';

/** How PostgreSQL is started: what stands before its command, and who owns its files. */
export type ServerUser = { prefix: readonly string[]; uid: number | undefined };

const nobodyId = 65_534;
const probeWithinMs = 5_000;
let canTie: boolean | undefined;

/**
 * A prefix that makes the kernel send a signal to the process when the launcher dies, even by SIGKILL.
 * `setpriv` executes the command in its own place, so that the pid is the command's. Where it does not
 * exist (macOS), the next start reaps by the pid files instead.
 */
export function dyingWithLauncher(signal: NodeJS.Signals): string[] {
  canTie ??= process.platform === 'linux' && runs(['setpriv', '--pdeathsig', 'TERM', '--', 'true']);
  return canTie ? ['setpriv', '--pdeathsig', signal.replace('SIG', ''), '--'] : [];
}

/**
 * PostgreSQL refuses to run as root. As root it is given to `nobody`, when nobody can reach the binary
 * and the data; below a private home directory it cannot, and there a user namespace, in which root
 * appears as nobody, does it: the files stay root's.
 */
export function postgresUser(directory: string, postgres: string): ServerUser {
  const tie = dyingWithLauncher('SIGINT');
  if (process.getuid?.() !== 0) return { prefix: tie, uid: undefined };
  const ids = [`--reuid=${nobodyId}`, `--regid=${nobodyId}`, '--clear-groups'];
  const candidates: ServerUser[] = [
    { prefix: ['setpriv', ...tie.slice(1, -1), ...ids, '--'], uid: nobodyId },
    { prefix: ['unshare', '--user', `--map-user=${nobodyId}`, `--map-group=${nobodyId}`, ...tie], uid: 0 },
  ];
  for (const candidate of candidates) if (works(candidate, directory, postgres)) return candidate;
  throw new LabError(
    'postgres-refused',
    'PostgreSQL does not run as root, and giving up root failed (setpriv and unshare were tried).\n' +
      'Start the lab as an ordinary user.',
  );
}

/** Tries for real, because rights, mounts, and namespace limits each can forbid it. */
function works(user: ServerUser, directory: string, postgres: string): boolean {
  const probe = join(directory, `.probe-${process.pid}`);
  mkdirSync(probe, { recursive: true, mode: 0o700 });
  try {
    giveTo(probe, user.uid);
    return runs([...user.prefix, postgres, '--version']) && runs([...user.prefix, 'touch', join(probe, 'x')]);
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}

/** Gives a directory with all below it to the server's user, when the last start used another way. */
export function giveTo(directory: string, uid: number | undefined): void {
  if (uid === undefined || statSync(directory).uid === uid) return;
  chownSync(directory, uid, uid);
  execFileSync('chown', ['-R', `${uid}:${uid}`, directory]);
}

function runs(command: readonly string[]): boolean {
  const [program = '', ...args] = command;
  try {
    execFileSync(program, args, { stdio: 'ignore', timeout: probeWithinMs, cwd: '/' });
    return true;
  } catch {
    return false; // Whatever the reason, this way is closed on this machine.
  }
}
