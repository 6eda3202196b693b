/** What a lab takes while it works, whatever it gets done: memory and database connections. */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { LabState } from '../home.ts';
import { type Part, partOf, readProcesses } from './processes.ts';

export type Standing = { memoryMb: Partial<Record<Part, number>> | null; connections: number };

export async function readStanding(lab: LabState): Promise<Standing> {
  const counts = await Promise.all(
    Object.values(lab.databases).map(({ auditUrl }) => countClients(auditUrl)),
  );
  return { memoryMb: readMemory(lab), connections: counts.reduce((sum, each) => sum + each, 0) };
}

async function countClients(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ clients: number }>(
      `select count(*)::int as clients from pg_stat_activity
       where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    );
    return rows[0]?.clients ?? 0;
  } finally {
    await client.end();
  }
}

/** Proportional: what processes share (the program, PostgreSQL's buffers) is counted once, divided among them. */
function readMemory(lab: LabState): Standing['memoryMb'] {
  const table = readProcesses();
  if (table === null) return null;
  const memoryMb: Partial<Record<Part, number>> = {};
  for (const [name, { kind, process: part }] of Object.entries(lab.parts)) {
    const group = partOf(name, kind);
    for (const row of table) {
      if (row.pid !== part?.pid && row.parent !== part?.pid) continue;
      memoryMb[group] = (memoryMb[group] ?? 0) + pssMbOf(row.pid);
    }
  }
  return memoryMb;
}

function pssMbOf(pid: number): number {
  try {
    const kb = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return Number(kb ?? 0) / 1_024;
  } catch {
    return 0; // It ended while we looked.
  }
}
