import { labApi } from '../api.ts';
import type { Arguments, Io, Options } from '../command.ts';
import { changeFaults, readFaults } from '../faults.ts';
import { healedLines, healOutside } from '../heal-outside.ts';

export const summary =
  'Ends faults: those that are named, or all; then parts that stand still or are held down, and links, as well. Exit code 1 when one of that name is not set.';
export const positionals = '[fault id …]';
export const options = {} as const satisfies Options;
export const examples = ['npx lab heal', 'npx lab heal 4f0a5a2b'];

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  // Before the faults inside: who ends those may stand still himself.
  const outside = positionals.length === 0 ? await healOutside(io.home) : undefined;
  const api = labApi(io.home);
  const before = new Set<string>();
  if (positionals.length === 0) {
    for (const { id } of (await readFaults(api)).items) before.add(id);
    await api.request('DELETE', '/api/faults');
  } else {
    await changeFaults(api, ({ items }) => {
      for (const { id } of items) before.add(id);
      return items.filter(({ id }) => !positionals.includes(id));
    });
  }
  const healed = positionals.length === 0 ? [...before] : positionals.filter((id) => before.has(id));
  const unknown = positionals.filter((id) => !before.has(id));
  if (values.json) io.out(JSON.stringify({ healed, unknown, ...outside }));
  else for (const line of outside ? healedLines(outside) : []) io.out(line);
  if (!values.json) io.out(healed.length === 0 ? 'no fault was ended' : `ended: ${healed.join(', ')}`);
  if (unknown.length > 0) io.err(`not set: ${unknown.join(', ')}. See: npx lab break --list`);
  return unknown.length > 0 ? 1 : 0;
}
