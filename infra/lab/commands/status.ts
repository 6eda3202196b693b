import type { Arguments, Io, Options } from '../command.ts';
import { runningLab } from '../home.ts';
import { isOk } from '../nats.ts';
import { answers } from '../ports.ts';
import { isAlive, standsStill } from '../process-table.ts';
import { labTopology } from '../topology.ts';

export const summary =
  'Shows every part of the lab that runs, and whether it is ready. Exit code 1 when one is not.';
export const options = {} as const satisfies Options;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const lab = runningLab(io.home);
  const rows = await Promise.all(
    Object.entries(lab.parts).map(async ([name, part]) => {
      const isUp = part.process !== null && isAlive(part.process);
      const isPaused = isUp && part.process !== null && standsStill(part.process);
      const isReady = isUp && !isPaused && (await ready[part.kind](part.port));
      const state = isReady ? 'ready' : isPaused ? 'paused' : isUp ? 'not ready' : 'down';
      return { name, kind: part.kind, state, port: part.port, pid: part.process?.pid ?? null, log: part.log };
    }),
  );
  const { url, home, jaegerUrl, nats, startedAt } = lab;
  if (values.json) {
    io.out(JSON.stringify({ url, home, jaegerUrl, startedAt, nats, parts: rows }));
  } else {
    io.out(`${url}   home ${home}   since ${startedAt}`);
    if (jaegerUrl !== null) io.out(`traces: ${jaegerUrl}`);
    for (const { name, state, port, pid } of rows) {
      io.out(`  ${name.padEnd(18)} ${state.padEnd(10)} port ${port}   pid ${pid ?? '-'}`);
    }
  }
  return rows.every(({ state }) => state === 'ready') ? 0 : 1;
}

const monitorPortStep = labTopology.nats.monitorPortOffset - labTopology.nats.portOffset;

/** How each kind of part is asked. A database is asked by its port: the table needs no password. */
const ready = {
  database: (port: number) => answers(port),
  nats: (port: number) => isOk(`http://127.0.0.1:${port + monitorPortStep}/healthz`),
  links: (port: number) => answers(port),
  service: (port: number) => isOk(`http://127.0.0.1:${port}/readyz`),
  jaeger: (port: number) => isOk(`http://127.0.0.1:${port}/api/services`),
} as const;
