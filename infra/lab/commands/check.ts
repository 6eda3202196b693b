import type { Invariants, RuleResult } from '#libs/checker/check.ts';
import { labApi } from '../api.ts';
import type { Arguments, Io, Options } from '../command.ts';
import { table } from '../format.ts';

export const summary =
  'Checks every invariant against all databases and the stream. Exit code 1 when one is violated.';
export const options = {
  settled: {
    type: 'boolean',
    description: 'no order is under way: what has not ended, or is not published, is a violation',
  },
} as const satisfies Options;
export const examples = ['npx lab check', 'npx lab check --settled --json'];

const violationsShownMax = 3;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const path = `/api/invariants?quiet=${values.settled ?? false}`;
  const { body: found } = await labApi(io.home).request<Invariants>('GET', path);
  if (values.json) io.out(JSON.stringify(found));
  else io.out(text(found));
  return found.holds ? 0 : 1;
}

function text({ rules, holds, tookMs }: Invariants): string {
  const rows = rules.map(({ id, holds, checked, title, note }) => [
    id,
    holds ? 'holds' : 'VIOLATED',
    String(checked),
    note === undefined ? title : `${title} (${note})`,
  ]);
  const kept = rules.filter((rule) => rule.holds).length;
  const sum = holds ? `all ${rules.length} hold` : `${rules.length - kept} of ${rules.length} violated`;
  return [
    table([['rule', 'state', 'checked', ''], ...rows], ''),
    ...rules.filter((rule) => !rule.holds).flatMap(violationsOf),
    '',
    `${sum} (${tookMs} ms)`,
  ].join('\n');
}

function violationsOf({ id, violations, violationCount }: RuleResult): string[] {
  const shown = violations.slice(0, violationsShownMax);
  const more = violationCount - shown.length;
  const lines = shown.map(({ orderId, detail }) => `  ${orderId === null ? '' : `${orderId}: `}${detail}`);
  return ['', `${id}: ${violationCount}`, ...lines, ...(more > 0 ? [`  and ${more} more`] : [])];
}
