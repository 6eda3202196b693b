import { parseArgs } from 'node:util';
import { RequestRefused } from './api.ts';
import { type Command, commonOptions, type Io, type Options, UsageError } from './command.ts';
import { commands } from './command-table.ts';
import { LabError, systemCode } from './errors.ts';
import { homeDirectory } from './home.ts';
import { near } from './suggest.ts';

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
