/** `lab kill|pause|resume|restart|stop|start`: what can be done to a process, by name. */
import type { Part, PartAct } from '#libs/contracts/parts.ts';
import { type Arguments, type Command, type Io, type Options, UsageError } from '../command.ts';
import { labControl } from '../control/client.ts';
import { table } from '../format.ts';
import { runningLab } from '../home.ts';
import { unknownPart } from '../lab.ts';

const noOptions = {} as const satisfies Options;
const killOptions = {
  hold: { type: 'boolean', description: 'leave it down until: npx lab start' },
} as const satisfies Options;

export const kill = command(
  'kill',
  'Ends parts by SIGKILL, a database with all its backends. The launcher starts them again.',
  ['npx lab kill payment', 'npx lab kill payment-db nats', 'npx lab kill coordinator --hold'],
  killOptions,
);
export const pause = command(
  'pause',
  'Lets parts stand still (SIGSTOP), a database with all its backends. They keep their connections and say nothing.',
  ['npx lab pause order-db', 'npx lab resume order-db'],
);
export const resume = command('resume', 'Lets parts go on that stand still (SIGCONT).', [
  'npx lab resume order-db',
]);
export const restart = command('restart', 'Stops parts in good order and starts them again.', [
  'npx lab restart nats',
]);
export const stop = command('stop', 'Stops parts in good order; they stay down until they are started.', [
  'npx lab stop payment',
  'npx lab start payment',
]);
export const start = command('start', 'Starts parts that are down, and waits until they are ready.', [
  'npx lab start payment',
]);

function command(
  act: PartAct,
  summary: string,
  examples: readonly string[],
  options: typeof killOptions | typeof noOptions = noOptions,
): Command {
  return {
    summary,
    positionals: '<part> …',
    examples,
    options,
    run: ({ values, positionals }: Arguments<typeof killOptions>, io: Io) =>
      run(act, positionals, values.hold ?? false, values.json ?? false, io),
  };
}

async function run(
  act: PartAct,
  names: readonly string[],
  hold: boolean,
  isJson: boolean,
  io: Io,
): Promise<number> {
  const before = runningLab(io.home).parts;
  const known = Object.keys(before);
  if (names.length === 0) throw new UsageError(`${act} wants a part. The parts are: ${known.join(', ')}`);
  // Before the first one is touched: half of what was meant would be neither.
  for (const name of names) if (!known.includes(name)) throw new UsageError(unknownPart(name, known));
  const control = labControl(io.home);
  const options = hold ? { hold } : undefined;
  const done = await Promise.all(names.map((name) => control.act(name, act, options)));
  const rows = done.map((part) => ({ ...part, pidBefore: before[part.name]?.process?.pid ?? null }));
  if (isJson) io.out(JSON.stringify({ act, parts: rows }));
  else
    io.out(
      table(
        rows.map((row) => line(row, act)),
        '',
      ),
    );
  return 0;
}

function line(row: Part & { pidBefore: number | null }, act: PartAct): string[] {
  const { name, state, held, pid, pidBefore } = row;
  const again = act === 'kill' ? 'killed, and started again' : state;
  const now = held ? `${state}, until: npx lab start ${name}` : again;
  const process = pid === pidBefore ? `pid ${pid ?? '-'}` : `pid ${pid ?? '-'}, before ${pidBefore ?? '-'}`;
  return [name, now, process];
}
