import { labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { timelineHeader, timelineLine } from '../format.ts';
import { followStory } from '../story.ts';
import { durationMs } from '../values.ts';

export const summary =
  'Follows an order to its end, in causal order. Exit code 1 when that does not come in time.';
export const positionals = '<order id>';
export const options = {
  timeout: { type: 'string', value: 'time', description: 'give up after this long (default: 60s)' },
} as const satisfies Options;
export const examples = [
  'npx lab watch 01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11',
  'npx lab watch 01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11 --timeout 5s --json   # a JSON object per line',
];

const timeoutDefault = '60s';

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [orderId, ...more] = positionals;
  if (orderId === undefined || more.length > 0) throw new UsageError('watch wants one order id');
  const timeout = values.timeout ?? timeoutDefault;
  const timeoutMs = durationMs(timeout, '--timeout');
  let isFirst = true;
  const story = await followStory(labApi(io.home), orderId, timeoutMs, (item) => {
    if (isFirst && !values.json) io.out(timelineHeader());
    isFirst = false;
    io.out(values.json ? JSON.stringify({ item }) : timelineLine(item));
  });
  const { order, ended, missing } = story;
  if (values.json) io.out(JSON.stringify({ order, ended, missing }));
  else io.out(`\n${order.status}${order.reason === null ? '' : `: ${order.reason}`}`);
  if (missing.length > 0) io.err(`could not be asked: ${missing.join(', ')}`);
  if (!ended) io.err(`${orderId} is not at its end after ${timeout}`);
  return ended ? 0 : 1;
}
