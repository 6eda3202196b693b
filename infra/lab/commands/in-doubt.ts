import { setTimeout as delay } from 'node:timers/promises';
import { decisions, type Resolution } from '#libs/contracts/two-phase.ts';
import { readAdminToken } from '../admin-token.ts';
import { type LabApi, labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { inDoubtLines, readInDoubt } from '../in-doubt.ts';
import { oneOf } from '../values.ts';

export const summary =
  'Shows what stands prepared in each database, which locks it keeps and who waits. With resolve: ends one.';
export const positionals = '[resolve <gid>]';
export const options = {
  watch: { type: 'boolean', description: 'look again every second, until Ctrl-C' },
  heuristic: {
    type: 'string',
    value: 'what',
    description: 'with resolve: force commit or abort, whatever the coordinator has decided',
  },
  confirm: { type: 'string', value: 'gid', description: 'with --heuristic: the gid once more, typed' },
} as const satisfies Options;
export const examples = [
  'npx lab in-doubt',
  'npx lab in-doubt resolve 2pc:01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11:payment   # asks the coordinator',
  'npx lab in-doubt resolve <gid> --heuristic abort --confirm <gid>            # an operator decides',
];

const watchPauseMs = 1_000;

type Values = Arguments<typeof options>['values'];

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [action, gid, ...more] = positionals;
  if (action === undefined) {
    if (values.heuristic !== undefined || values.confirm !== undefined) {
      throw new UsageError('--heuristic and --confirm go with: in-doubt resolve <gid>');
    }
    return list(labApi(io.home), values, io);
  }
  if (action !== 'resolve') throw new UsageError(`in-doubt knows resolve, not '${action}'`);
  if (gid === undefined || more.length > 0) throw new UsageError('resolve wants one gid');
  if (values.watch) throw new UsageError('--watch goes with the list');
  return resolve(gid, values, io);
}

async function list(api: LabApi, { watch, json }: Values, io: Io): Promise<number> {
  for (;;) {
    const { items, missing } = await readInDoubt(api);
    if (json) io.out(JSON.stringify({ items, missing }));
    else io.out(items.length === 0 ? nothing(missing) : inDoubtLines(items).join('\n'));
    if (missing.length > 0) io.err(`could not be asked: ${missing.join(', ')}`);
    if (!watch) return 0;
    await delay(watchPauseMs);
    if (!json) io.out(`\n${new Date().toISOString()}`);
  }
}

const nothing = (missing: readonly string[]): string =>
  missing.length === 0 ? 'nothing is in doubt' : 'nothing is in doubt where one could ask';

async function resolve(gid: string, { heuristic, confirm, json }: Values, io: Io): Promise<number> {
  const forced = heuristic === undefined ? undefined : oneOf(heuristic, '--heuristic', decisions);
  if (forced === undefined && confirm !== undefined) throw new UsageError('--confirm goes with --heuristic');
  if (forced !== undefined && confirm === undefined) {
    throw new UsageError(
      `This can leave the databases different from each other, for good. If you mean it, add: --confirm ${gid}`,
    );
  }
  const api = labApi(io.home);
  // Only who forces needs the token: asking the coordinator is always safe.
  const options =
    forced === undefined
      ? { body: {} }
      : {
          body: { heuristic: forced, confirm },
          headers: { authorization: `Bearer ${readAdminToken(io.home)}` },
        };
  const path = `/api/in-doubt/${encodeURIComponent(gid)}/resolve`;
  const { body: resolution } = await api.request<Resolution>('POST', path, options);
  const { decision, by } = resolution;
  if (json) io.out(JSON.stringify(resolution));
  else
    io.out(
      `${gid}: ${decision}, ${by === 'operator' ? 'forced by the operator' : 'as decided by the coordinator'}`,
    );
  return 0;
}
