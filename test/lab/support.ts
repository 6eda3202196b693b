import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reapLeftovers } from '../../infra/lab/home.ts';
import { answers } from '../../infra/lab/ports.ts';
import { link, pids, readProc } from '../../infra/lab/process-table.ts';
import type { Topology } from '../../infra/lab/topology.ts';

const tiny = 'test/lab/fixtures/tiny-service.ts';
const portsPerLab = 100;

/** Two services, two databases and the broker: every kind of part, and a second of each that can be confused. */
export const tinyTopology: Topology = {
  services: [
    { name: 'order', main: tiny, portOffset: 1, database: 'order' },
    { name: 'gateway', main: tiny, portOffset: 2 },
  ],
  databases: [
    { name: 'order', portOffset: 11 },
    { name: 'payment', portOffset: 12 },
  ],
  nats: { portOffset: 20, monitorPortOffset: 21 },
};

/** Only a service: for tests that need no database and should not wait for one. */
export const serviceOnly: Topology = {
  ...tinyTopology,
  services: tinyTopology.services.slice(1),
  databases: [],
};

export type Place = { home: string; portBase: number; [Symbol.asyncDispose]: () => Promise<void> };

/** A home and ports of its own; below the ephemeral ports, and away from those of a lab that runs. */
export async function place(): Promise<Place> {
  const home = mkdtempSync(join(tmpdir(), 'saga-lab-'));
  const portBase = await freePorts();
  return {
    home,
    portBase,
    async [Symbol.asyncDispose]() {
      // Also after a failed test nothing may stay behind, paused processes least of all.
      if (existsSync(join(home, 'run'))) await reapLeftovers(home);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Everything that still runs for a home: by its working directory or its command line. */
export function processesOf(home: string): string[] {
  const rows = pids().map((pid) => ({
    pid,
    cwd: link(`/proc/${pid}/cwd`),
    command: readProc(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim(),
    state: /^State:\s+(\w)/m.exec(readProc(`/proc/${pid}/status`))?.[1],
  }));
  return rows
    .filter(({ cwd, command, state }) => state !== 'Z' && (cwd.startsWith(home) || command.includes(home)))
    .map(({ pid, command }) => `${pid} ${command}`);
}

export async function openPorts({ portBase }: Place): Promise<number[]> {
  const ports = Array.from({ length: portsPerLab }, (_, offset) => portBase + offset);
  const open = await Promise.all(ports.map(answers));
  return ports.filter((_, index) => open[index]);
}

/** Tries until it holds, and says at the end what still stood in the way. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const withinMs = 10_000;
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function freePorts(): Promise<number> {
  const first = 20_000 + (process.pid % 100) * portsPerLab;
  for (let base = first; base < first + 1_000; base += portsPerLab) {
    const taken = await openPorts({ portBase: base } as Place);
    if (taken.length === 0 && !given.has(base)) {
      given.add(base);
      return base;
    }
  }
  throw new Error('no free range of ports');
}

const given = new Set<number>();
