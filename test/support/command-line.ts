/** `npx lab …` in this process, against the shared lab: a process per command line would cost more than all that it does. */
import { main } from '../../infra/lab/cli.ts';
import { system } from './api.ts';

export async function labCommand(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const lines: Record<'out' | 'err', string[]> = { out: [], err: [] };
  const io = {
    out: (line: string) => void lines.out.push(line),
    err: (line: string) => void lines.err.push(line),
  };
  const status = await main([...args, '--home', system.home], io);
  return { status, out: lines.out.join('\n'), err: lines.err.join('\n') };
}

// biome-ignore lint/suspicious/noExplicitAny: what a program reads from --json, each test looks at its own fields.
export const labJson = async (...args: string[]): Promise<any> =>
  JSON.parse((await labCommand(...args, '--json')).out);
