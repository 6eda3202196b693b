import type { ParseArgsOptionsConfig, parseArgs } from 'node:util';

/** Options as data: `node:util` parses them, and the help is written from their descriptions. */
export type Options = ParseArgsOptionsConfig &
  Record<string, { description: string /** How the value is called in the help. */; value?: string }>;

/** What every command has; a command need not list these. */
export const commonOptions = {
  home: { type: 'string', value: 'directory', description: 'the lab to use (default: .lab in the checkout)' },
  json: { type: 'boolean', description: 'answer in JSON, for programs' },
  help: { type: 'boolean', short: 'h', description: 'show this help' },
} as const satisfies Options;

/** The parsed arguments of a command that declares `options`; the common ones are among the values. */
export type Arguments<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O & typeof commonOptions; allowPositionals: true }>
>;

/** The outside world of a command, so that tests can hand it another one. */
export type Io = {
  /** The answer: one line on stdout. */
  out: (line: string) => void;
  /** Progress and complaints: one line on stderr. */
  err: (line: string) => void;
  /** The home that `--home`, SAGA_LAB_HOME or the default names, absolute. */
  home: string;
};

/**
 * What a file below commands/ exports. `run` resolves with the exit code; an expected failure is thrown
 * as LabError, or written to `io.err` and answered with a code other than 0.
 *
 *   export const summary = 'place an order';
 *   export const options = { city: { type: 'string', value: 'name', description: '…' } } as const satisfies Options;
 *   export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> { … }
 */
export type Command = {
  summary: string;
  /** The positional arguments as the help shows them, such as `<order id>`. */
  positionals?: string;
  /** Two or three command lines that a person can copy. */
  examples?: readonly string[];
  options: Options;
  // biome-ignore lint/suspicious/noExplicitAny: the table holds commands of different options; each module is checked by itself.
  run: (args: any, io: Io) => Promise<number>;
};

/** A wrong command line: exit code 2, as shells have it. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}
