import { parseArgs } from 'node:util';
import type { PartAct } from '#libs/contracts/parts.ts';
import { RequestRefused } from './api.ts';
import { type Command, commonOptions, type Io, type Options, UsageError } from './command.ts';
import { LabError, systemCode } from './errors.ts';
import { homeDirectory } from './home.ts';
import { near } from './suggest.ts';

const part = (act: PartAct) => async () => (await import('./commands/parts.ts'))[act];

/** Every command, in the order of the help. The summary stands here so that the help loads no command. */
export const commands: readonly { name: string; summary: string; load: () => Promise<Command> }[] = [
  { name: 'up', summary: 'start everything and stay until Ctrl-C', load: () => import('./commands/up.ts') },
  { name: 'down', summary: 'stop the lab that runs', load: () => import('./commands/down.ts') },
  {
    name: 'status',
    summary: 'show every part and whether it is ready',
    load: () => import('./commands/status.ts'),
  },
  { name: 'order', summary: 'place an order', load: () => import('./commands/order.ts') },
  { name: 'watch', summary: 'follow an order to its end', load: () => import('./commands/watch.ts') },
  {
    name: 'trace',
    summary: "show an order's trace as a tree",
    load: () => import('./commands/trace.ts'),
  },
  { name: 'break', summary: 'put a fault at a point', load: () => import('./commands/break.ts') },
  { name: 'heal', summary: 'end faults', load: () => import('./commands/heal.ts') },
  { name: 'kill', summary: 'kill a part; it is started again', load: part('kill') },
  { name: 'pause', summary: 'let a part stand still', load: part('pause') },
  { name: 'resume', summary: 'let it go on', load: part('resume') },
  { name: 'restart', summary: 'stop a part in good order, and start it again', load: part('restart') },
  { name: 'stop', summary: 'stop a part and leave it down', load: part('stop') },
  { name: 'start', summary: 'start a part that is down', load: part('start') },
  {
    name: 'link',
    summary: 'cut, slow or reset a connection between parts',
    load: () => import('./commands/link.ts'),
  },
  { name: 'links', summary: 'show these connections', load: () => import('./commands/links.ts') },
  { name: 'check', summary: 'check the invariants', load: () => import('./commands/check.ts') },
  {
    name: 'dead-letters',
    summary: 'show, replay or discard what could not be handled',
    load: () => import('./commands/dead-letters.ts'),
  },
  {
    name: 'in-doubt',
    summary: 'show what waits for its decision, or end it',
    load: () => import('./commands/in-doubt.ts'),
  },
  {
    name: 'scenario',
    summary: 'play a story: in-doubt, deadlock',
    load: () => import('./commands/scenario.ts'),
  },
  {
    name: 'storm',
    summary: 'a seeded storm of faults on a lab of its own',
    load: () => import('./commands/storm.ts'),
  },
  { name: 'bench', summary: 'measure speed and cost', load: () => import('./commands/bench.ts') },
  {
    name: 'completion',
    summary: 'complete commands and fault points in a shell',
    load: () => import('./commands/completion.ts'),
  },
];

type Output = Omit<Io, 'home'>;
const terminal: Output = { out: (line) => console.log(line), err: (line) => console.error(line) };

if (import.meta.main) {
  process.stdout.on('error', (error) => {
    // The reader went away (`lab status | head`): there is nobody left to tell.
    if (systemCode(error) !== 'EPIPE') throw error;
  });
  process.exitCode = await main(process.argv.slice(2), terminal);
}

/** One command line, to its exit code. */
export async function main([name = 'help', ...rest]: readonly string[], io: Output): Promise<number> {
  if (['help', '--help', '-h'].includes(name) && rest[0] === undefined) return overview(io);
  const wanted = name === 'help' ? (rest[0] ?? '') : name;
  const row = commands.find((command) => command.name === wanted);
  if (row === undefined) return unknown(wanted, io);
  const command = await row.load();
  if (name === 'help') return help(row.name, command, io);
  try {
    return await runCommand(row.name, command, rest, io);
  } catch (error) {
    return failed(error, row.name, rest.includes('--json'), io);
  }
}

async function runCommand(name: string, command: Command, rest: string[], io: Output): Promise<number> {
  const options = { ...commonOptions, ...command.options };
  const args = parseArgs({ args: rest, options, allowPositionals: true });
  if (args.values.help) return help(name, command, io);
  if (command.positionals === undefined && args.positionals.length > 0) {
    throw new UsageError(`'${name}' takes no argument, but was given '${args.positionals.join(' ')}'`);
  }
  const given = typeof args.values.home === 'string' ? args.values.home : undefined;
  return command.run(args, { ...io, home: homeDirectory(given) });
}

function failed(error: unknown, name: string, isJson: boolean, io: Output): number {
  const isUsage = error instanceof UsageError || systemCode(error)?.startsWith('ERR_PARSE_ARGS');
  if (!isUsage && !(error instanceof LabError)) throw error;
  const message = (error as Error).message;
  const problem = error instanceof RequestRefused ? { problem: error.problem } : {};
  const code = isUsage ? 'usage' : (error as LabError).code;
  if (isJson) io.out(JSON.stringify({ error: message, code, ...problem }));
  else io.err(isUsage ? `${message}\nSee: npx lab ${name} --help` : message);
  return isUsage ? 2 : 1;
}

function overview(io: Output): number {
  const rows = commands.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`);
  io.out(
    ['Usage: npx lab <command> [options]', '', ...rows, '', 'npx lab <command> --help tells more.'].join(
      '\n',
    ),
  );
  return 0;
}

function help(name: string, command: Command, io: Output): number {
  const options: Options = { ...command.options, ...commonOptions };
  const rows = Object.entries(options).map(([option, { value, description }]) => {
    return `  ${`--${option}${value === undefined ? '' : ` <${value}>`}`.padEnd(24)} ${description}`;
  });
  const usage = ['Usage: npx lab', name, command.positionals, '[options]'].filter(Boolean).join(' ');
  const examples = (command.examples ?? []).map((line) => `  ${line}`);
  const lines = [
    usage,
    command.summary,
    '',
    ...rows,
    ...(examples.length > 0 ? ['', 'Examples:', ...examples] : []),
  ];
  io.out(lines.join('\n'));
  return 0;
}

function unknown(name: string, io: Output): number {
  const [meant] = near(
    name,
    commands.map((command) => command.name),
  );
  const hint = meant === undefined ? 'All commands: npx lab help' : `Did you mean: npx lab ${meant}`;
  io.err(`There is no command '${name}'. ${hint}`);
  return 2;
}
