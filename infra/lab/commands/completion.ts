import { faultPoints } from '#libs/faults/points.ts';
import {
  type Arguments,
  type Command,
  commonOptions,
  type Io,
  type Options,
  UsageError,
} from '../command.ts';
import { commands } from '../command-table.ts';
import { near } from '../suggest.ts';

export const summary =
  'Prints what makes a shell complete commands, options, fault points and their actions.';
export const positionals = '<bash|zsh|fish>';
export const options = {} as const satisfies Options;
export const examples = [
  'source <(npx lab completion bash)',
  'source <(npx lab completion zsh)',
  'npx lab completion fish | source',
];

/** What can be written after `lab`, and after each of its words. */
type Words = { options: Record<string, string[]>; points: Record<string, readonly string[]> };

const shells: Record<string, (words: Words) => string> = { bash, zsh, fish };

export async function run({ positionals, values }: Arguments<typeof options>, io: Io): Promise<number> {
  const [shell = '', ...more] = positionals;
  const write = more.length === 0 && Object.hasOwn(shells, shell) ? shells[shell] : undefined;
  if (!write) {
    const [meant] = near(shell, Object.keys(shells));
    const hint = meant === undefined ? '' : ` Did you mean ${meant}?`;
    throw new UsageError(`completion wants ${Object.keys(shells).join(', ')}.${hint}`);
  }
  const words = await readWords();
  io.out(values.json ? JSON.stringify(words) : write(words));
  return 0;
}

/** Each command says its options itself. */
async function readWords(): Promise<Words> {
  const words = await Promise.all(
    commands.map(async ({ name, load }): Promise<[string, string[]]> => {
      const command: Command = await load();
      return [name, Object.keys({ ...command.options, ...commonOptions }).map((option) => `--${option}`)];
    }),
  );
  const points = Object.entries(faultPoints).map(([at, { actions }]) => [at, actions]);
  return { options: Object.fromEntries(words), points: Object.fromEntries(points) };
}

/** `npx lab` is two words to a shell, so it completes `npx` too, and only after `lab`. */
function bash({ options, points }: Words): string {
  return `# source <(npx lab completion bash)
_lab() {
  local from=0 word=\${COMP_WORDS[COMP_CWORD]} words
  if [[ \${COMP_WORDS[0]} == npx ]]; then
    [[ \${COMP_WORDS[1]} == lab ]] || return
    from=1
  fi
  local command=\${COMP_WORDS[from + 1]} point=\${COMP_WORDS[from + 2]}
  if ((COMP_CWORD == from + 1)); then
    words='${Object.keys(options).join(' ')} help'
  elif [[ $command == break && $word != -* ]] && ((COMP_CWORD == from + 2)); then
    words='${Object.keys(points).join(' ')}'
  elif [[ $command == break && $word != -* ]] && ((COMP_CWORD == from + 3)); then
    case $point in
${byActions(points, (names, actions) => `      ${names.join('|')}) words='${actions}' ;;`)}
    esac
  else
    case $command in
${Object.entries(options)
  .map(([name, all]) => `      ${name}) words='${all.join(' ')}' ;;`)
  .join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _lab lab npx`;
}

/** The same, by zsh's own way to run completions of bash. */
function zsh(words: Words): string {
  return `# source <(npx lab completion zsh)
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
${bash(words).split('\n').slice(1).join('\n')}`;
}

function fish({ options, points }: Words): string {
  const seen = (words: string) => `'__fish_seen_subcommand_from lab; and ${words}'`;
  const after = (command: string, count: number) =>
    seen(`__fish_seen_subcommand_from ${command}; and test (count (commandline -opc)) -eq ${count}`);
  const commands = Object.keys(options).join(' ');
  const lines = [
    '# npx lab completion fish | source',
    `complete -c npx -n ${seen('test (count (commandline -opc)) -eq 2')} -f -a '${commands} help'`,
    `complete -c npx -n ${after('break', 3)} -f -a '${Object.keys(points).join(' ')}'`,
    ...byActions(points, (names, actions) => {
      const given = `__fish_seen_subcommand_from ${names.join(' ')}`;
      return `complete -c npx -n ${seen(`${given}; and test (count (commandline -opc)) -eq 4`)} -f -a '${actions}'`;
    }).split('\n'),
    ...Object.entries(options).flatMap(([name, all]) =>
      all.map(
        (option) =>
          `complete -c npx -n ${seen(`__fish_seen_subcommand_from ${name}`)} -f -l ${option.slice(2)}`,
      ),
    ),
  ];
  return lines.join('\n');
}

function byActions(points: Words['points'], line: (names: string[], actions: string) => string): string {
  const groups = Map.groupBy(Object.keys(points), (at) => (points[at] ?? []).join(' '));
  return [...groups].map(([actions, names]) => line(names, actions)).join('\n');
}
