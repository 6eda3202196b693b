import type { Arguments, Io, Options } from '../command.ts';
import { labControl } from '../control/client.ts';
import { linkLines } from '../links/lines.ts';

export const summary = 'Shows the links between processes and their servers: mode, how often it bit, bytes.';
export const options = {} as const satisfies Options;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const links = await labControl(io.home).links();
  if (values.json) io.out(JSON.stringify({ links }));
  else io.out(links.length === 0 ? 'no links. Start with: npx lab up --proxies' : linkLines(links));
  return 0;
}
