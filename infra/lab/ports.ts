import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { LabError } from './errors.ts';
import { link, pids, programName, readProc } from './process-table.ts';

export type PortUse = { part: string; port: number; option: '--port' | '--port-base' };

const connectWithinMs = 300;

/** Refuses when a port is in use, and names all of them at once with who holds them, where that can be known. */
export async function assertPortsFree(uses: readonly PortUse[]): Promise<void> {
  const taken: string[] = [];
  let option = '';
  for (const use of uses) {
    if (!(await isTaken(use.port))) continue;
    option = use.option;
    taken.push(`port ${use.port} (for ${use.part}) is taken${holder(use.port)}`);
  }
  if (taken.length === 0) return;
  throw new LabError(
    'port-taken',
    `${taken.join('\n')}\nStop that program, or choose another with ${option}.`,
  );
}

/** Whether something listens on this port of the loopback interface. */
export async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: connectWithinMs });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('timeout', () => done(false));
    socket.once('error', () => done(false));
  });
}

async function isTaken(port: number): Promise<boolean> {
  // macOS lets a program bind 127.0.0.1 beside another's 0.0.0.0: only a connection tells.
  if (await answers(port)) return true;
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(true));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(false)));
  });
}

function holder(port: number): string {
  const pid = process.platform === 'linux' ? holderByProc(port) : holderByLsof(port);
  return pid === undefined ? '' : ` by ${programName(pid)} (pid ${pid})`;
}

/** The process whose open files hold the listening socket; those of other users cannot be read. */
function holderByProc(port: number): number | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = `${readProc('/proc/net/tcp')}\n${readProc('/proc/net/tcp6')}`.split('\n');
  const listening = rows.map((row) => row.trim().split(/\s+/)).filter((row) => row[3] === '0A');
  const inode = listening.find((row) => row[1]?.endsWith(`:${hex}`))?.[9];
  if (inode === undefined) return undefined;
  return pids().find((pid) => files(pid).some((file) => link(file) === `socket:[${inode}]`));
}

function files(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
  } catch {
    return []; // Gone, or another user's: then the message goes without a name.
  }
}

function holderByLsof(port: number): number | undefined {
  try {
    const args = ['-nP', '-t', `-iTCP:${port}`, '-sTCP:LISTEN'];
    const out = execFileSync('lsof', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return Number(out.split('\n')[0]) || undefined;
  } catch {
    return undefined; // No lsof, or nothing that this user may see: the message goes without a name.
  }
}
