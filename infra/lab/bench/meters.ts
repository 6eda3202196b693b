/**
 * What a run cost, read from outside: CPU of every process of the lab (from /proc), WAL syncs of every
 * database, messages in the stream, the time that rows were locked. Two readings and their difference; null
 * where this machine, or the lab, cannot tell.
 */
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import type { Protocol } from '#libs/contracts/orders.ts';
import { eventStream } from '#libs/nats/streams.ts';
import type { LabState } from '../home.ts';
import { readLockHold } from './lock-hold.ts';
import { type Part, partOf, parts, readProcesses } from './processes.ts';

type Reading = {
  cpuMs: Record<Part, number> | null;
  walSyncs: number;
  messages: number;
  commits: number;
  lockedSeconds: number | null;
};

export type PerOrder = Record<string, number | null>;

export type Meters = {
  onMeasuring(): Promise<void>;
  onMeasured(): Promise<void>;
  perOrder(orders: number): PerOrder;
};

/** To be read when the measuring begins and when it ends. The raw floor has no protocol: nobody counts its locks. */
export function createMeters(lab: LabState, connection: NatsConnection, protocol: Protocol | null): Meters {
  const readings: Reading[] = [];
  const read = async () => {
    readings.push(await readMeters(lab, connection, protocol));
  };
  return {
    onMeasuring: read,
    onMeasured: read,
    perOrder(orders) {
      const [before, after] = readings;
      if (!before || !after) throw new Error('the meters were not read');
      const per = (a: number, b: number) => (b - a) / Math.max(orders, 1);
      const cpu = parts.map((part) =>
        before.cpuMs && after.cpuMs ? per(before.cpuMs[part], after.cpuMs[part]) : null,
      );
      const isCounted = before.lockedSeconds !== null && after.lockedSeconds !== null;
      const lockedMs = isCounted ? per(before.lockedSeconds ?? 0, after.lockedSeconds ?? 0) * 1_000 : null;
      return {
        'CPU ms': cpu.includes(null) ? null : cpu.reduce((sum: number, ms) => sum + (ms ?? 0), 0),
        ...Object.fromEntries(
          parts.flatMap((part, index) =>
            // Most labs have no links.
            part === 'links' && !cpu[index] ? [] : [[`CPU ms, ${part}`, cpu[index] ?? null]],
          ),
        ),
        'WAL syncs': per(before.walSyncs, after.walSyncs),
        commits: per(before.commits, after.commits),
        messages: per(before.messages, after.messages),
        ...(protocol === null ? {} : { 'rows locked, ms': lockedMs }),
      };
    },
  };
}

async function readMeters(
  lab: LabState,
  connection: NatsConnection,
  protocol: Protocol | null,
): Promise<Reading> {
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const [walSyncs, commits] = await readDatabases(lab);
  const messages = (await manager.streams.info(eventStream)).state.last_seq;
  const lockedSeconds = protocol === null ? null : await readLockHold(lab, protocol);
  return { cpuMs: readCpu(lab), walSyncs, commits, messages, lockedSeconds };
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
  const client = (own.user + own.system) / 1_000;
  const totals: Record<Part, number> = {
    services: 0,
    coordinator: 0,
    gateway: 0,
    databases: 0,
    nats: 0,
    links: 0,
    client,
  };
  for (const [name, { kind, process: part }] of Object.entries(lab.parts)) {
    if (part === null) continue;
    const group = partOf(name, kind);
    for (const row of table) if (row.pid === part.pid || row.parent === part.pid) totals[group] += row.cpuMs;
  }
  return totals;
}
