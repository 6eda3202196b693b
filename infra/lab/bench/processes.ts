/** The processes of the lab as the machine counts them, and which part of it each belongs to. */
import { readdirSync, readFileSync } from 'node:fs';
import type { PartState } from '../home.ts';
import { coordinatorName, gatewayName } from '../topology.ts';

const msPerTick = 10;

export const parts = ['services', 'coordinator', 'gateway', 'databases', 'nats', 'links', 'client'] as const;
export type Part = (typeof parts)[number];
export type ProcessRow = { pid: number; parent: number; cpuMs: number };

/** All replicas of a service, and all nodes of the broker, together. */
export function partOf(name: string, kind: PartState['kind']): Part {
  if (kind === 'database') return 'databases';
  if (kind === 'nats' || kind === 'links') return kind;
  const service = name.replace(/-\d+$/, '');
  if (service === gatewayName) return 'gateway';
  return service === coordinatorName ? 'coordinator' : 'services';
}

export function readProcesses(): ProcessRow[] | null {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => readStat(Number(name)));
  } catch {
    // No /proc here (macOS): the figure is left out rather than guessed.
    return null;
  }
}

function readStat(pid: number): ProcessRow[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [, parent = 0] = fields;
    const ticks = (fields[11] ?? 0) + (fields[12] ?? 0) + (fields[13] ?? 0) + (fields[14] ?? 0);
    return [{ pid, parent, cpuMs: ticks * msPerTick }];
  } catch {
    // It ended while we read the list.
    return [];
  }
}
