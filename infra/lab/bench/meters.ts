/**
 * What a run cost, read from outside: CPU of every process of the lab (from /proc), WAL syncs of every
 * database, messages in the stream. Two readings and their difference; null where this machine cannot tell.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { eventStream } from '#libs/nats/streams.ts';
import type { LabState } from '../home.ts';

const msPerTick = 10;

type Part = 'services' | 'gateway' | 'databases' | 'nats' | 'client';
type Reading = { cpuMs: Record<Part, number> | null; walSyncs: number; messages: number; commits: number };

export type Meters = {
  onMeasuring(): Promise<void>;
  onMeasured(): Promise<void>;
  perOrder(orders: number): Record<string, number | null>;
};

/** To be read when the measuring begins and when it ends. */
export function createMeters(lab: LabState, connection: NatsConnection): Meters {
  const readings: Reading[] = [];
  const read = async () => {
    readings.push(await readMeters(lab, connection));
  };
  return {
    onMeasuring: read,
    onMeasured: read,
    perOrder(orders) {
      const [before, after] = readings;
      if (!before || !after) throw new Error('the meters were not read');
      const per = (a: number, b: number) => (b - a) / Math.max(orders, 1);
      const parts = ['services', 'gateway', 'databases', 'nats', 'client'] as const;
      const cpu = parts.map((part) =>
        before.cpuMs && after.cpuMs ? per(before.cpuMs[part], after.cpuMs[part]) : null,
      );
      return {
        'CPU ms': cpu.includes(null) ? null : cpu.reduce((sum: number, ms) => sum + (ms ?? 0), 0),
        ...Object.fromEntries(parts.map((part, index) => [`CPU ms, ${part}`, cpu[index] ?? null])),
        'WAL syncs': per(before.walSyncs, after.walSyncs),
        commits: per(before.commits, after.commits),
        messages: per(before.messages, after.messages),
      };
    },
  };
}

async function readMeters(lab: LabState, connection: NatsConnection): Promise<Reading> {
  const manager = await jetstreamManager(connection);
  const [walSyncs, commits] = await readDatabases(lab);
  const messages = (await manager.streams.info(eventStream)).state.last_seq;
  return { cpuMs: readCpu(lab), walSyncs, commits, messages };
}

async function readDatabases(lab: LabState): Promise<[number, number]> {
  const rows = await Promise.all(
    Object.values(lab.databases).map(async ({ auditUrl }) => {
      const client = new pg.Client({ connectionString: auditUrl });
      await client.connect();
      try {
        const { rows } = await client.query<{ syncs: string; commits: string }>(
          `select (select coalesce(sum(fsyncs), 0) from pg_stat_io where object = 'wal') as syncs,
                  (select xact_commit from pg_stat_database where datname = current_database()) as commits`,
        );
        return rows[0];
      } finally {
        await client.end();
      }
    }),
  );
  const sum = (key: 'syncs' | 'commits') => rows.reduce((total, row) => total + Number(row?.[key] ?? 0), 0);
  return [sum('syncs'), sum('commits')];
}

/** A backend that ends takes its time to its parent, so a process's own and its waited-for children's add up. */
function readCpu(lab: LabState): Reading['cpuMs'] {
  const table = readProcesses();
  if (table === null) return null;
  const own = process.cpuUsage();
  const totals = { services: 0, gateway: 0, databases: 0, nats: 0, client: (own.user + own.system) / 1_000 };
  for (const [name, { kind, process: part }] of Object.entries(lab.parts)) {
    if (part === null) continue;
    const group =
      kind === 'database'
        ? 'databases'
        : kind === 'nats'
          ? 'nats'
          : name === 'gateway'
            ? 'gateway'
            : 'services';
    for (const row of table) if (row.pid === part.pid || row.parent === part.pid) totals[group] += row.cpuMs;
  }
  return totals;
}

function readProcesses(): { pid: number; parent: number; cpuMs: number }[] | null {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => readStat(Number(name)));
  } catch {
    // No /proc here (macOS): the figure is left out rather than guessed.
    return null;
  }
}

function readStat(pid: number): { pid: number; parent: number; cpuMs: number }[] {
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
