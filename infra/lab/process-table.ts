import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A pid alone may be used again by a stranger; together with its start time it names one process for ever. */
export type Identity = { pid: number; startedTicks: string };

const hasProc = process.platform === 'linux';

/** The live process with this pid, or undefined. A zombie is not alive: it holds no port and no file. */
export function identify(pid: number): Identity | undefined {
  const row = hasProc ? procRow(pid) : psRow(pid);
  return row === undefined || /^[ZX]/.test(row.state) ? undefined : { pid, startedTicks: row.started };
}

export function isAlive(identity: Identity): boolean {
  return identify(identity.pid)?.startedTicks === identity.startedTicks;
}

/** Children, grandchildren and so on of a process, parents before their children. */
export function descendants(pid: number): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const [child, parent] of hasProc ? procParents() : psParents()) {
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), child]);
  }
  const found: number[] = [];
  const open = [pid];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const children = childrenOf.get(next) ?? [];
    found.push(...children);
    open.push(...children);
  }
  return found;
}

/** Live processes of the program `postgres` that work in this data directory; each of its processes does. */
export function postgresProcesses(dataDirectory: string, postmasterPid: number | undefined): Identity[] {
  if (!hasProc) {
    // Without /proc only the postmaster can be recognised, by the data directory on its command line.
    const known = postmasterPid === undefined ? undefined : identify(postmasterPid);
    return known !== undefined && psField(known.pid, 'command').includes(dataDirectory) ? [known] : [];
  }
  const found: Identity[] = [];
  for (const pid of pids()) {
    if (link(`/proc/${pid}/cwd`) !== dataDirectory || !/\/postgres$/.test(link(`/proc/${pid}/exe`))) continue;
    const identity = identify(pid);
    if (identity !== undefined) found.push(identity);
  }
  return found;
}

/** The name of a program by its pid, for messages. */
export function programName(pid: number): string {
  return hasProc ? readProc(`/proc/${pid}/comm`).trim() : psField(pid, 'comm');
}

export function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The target of a link below /proc, or '' when the process has gone or belongs to someone else. */
export function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // Every reason to fail here (gone, foreign, kernel thread) means the same: not one of ours.
  }
}

/** The content of a file below /proc, or '' when the process has gone or belongs to someone else. */
export function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // As above: a process may end between the listing and the look.
  }
}

function procRow(pid: number): { state: string; started: string } | undefined {
  // The name in parentheses may hold spaces and parentheses: count the fields from the last one.
  const stat = readProc(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.length < 20 ? undefined : { state: fields[0] ?? '', started: fields[19] ?? '' };
}

function procParents(): [number, number][] {
  return pids().map((pid) => {
    const stat = readProc(`/proc/${pid}/stat`);
    return [pid, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])];
  });
}

function psRow(pid: number): { state: string; started: string } | undefined {
  const state = psField(pid, 'stat');
  return state === '' ? undefined : { state, started: psField(pid, 'lstart') };
}

function psParents(): [number, number][] {
  return ps(['-axo', 'pid=,ppid='])
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number]);
}

const psField = (pid: number, field: string): string => ps(['-o', `${field}=`, '-p', String(pid)]).trim();

function ps(args: string[]): string {
  try {
    return execFileSync('ps', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return ''; // `ps` exits with 1 when the process does not exist, which is an answer and not a failure.
  }
}
