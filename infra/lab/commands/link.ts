import { type Link, type LinkMode, linkMode } from '#libs/contracts/parts.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { labControl } from '../control/client.ts';
import { unknownLink } from '../lab.ts';
import { linkLines } from '../links/lines.ts';
import { near } from '../suggest.ts';
import { oneOf, wholeNumber } from '../values.ts';

export const summary =
  'Changes what lies between one process and one database or broker, in a lab that was started with --proxies.';
export const positionals =
  '<client> <server> pass | cut | cut-up | cut-down | reset | latency <ms> | slow <bytes/s> | slice <bytes> | drop-answers <text>';
export const options = {
  jitter: { type: 'string', value: 'ms', description: 'with latency: from 0 to so much on top of it' },
  seed: { type: 'string', value: 'n', description: 'with --jitter: which delays are drawn (default: 1)' },
  times: {
    type: 'string',
    value: 'n',
    description: 'with drop-answers: after so many such requests (default: 1)',
  },
  end: {
    type: 'string',
    value: 'how',
    description: 'with drop-answers: silence, or reset once the server has answered (default: silence)',
  },
} as const satisfies Options;
export const examples = [
  'npx lab link payment nats cut            # both ways; cut-up: requests are lost, cut-down: answers',
  'npx lab link order order-db latency 200 --jitter 50',
  'npx lab link payment payment-db drop-answers commit --end reset',
  'npx lab link all all pass',
];

const modes = ['pass', 'cut', 'cut-up', 'cut-down', 'reset', 'latency', 'slow', 'slice', 'drop-answers'];
const msMax = 60_000;
const bytesMax = 1_000_000_000;

type Values = Arguments<typeof options>['values'];

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [client, server, name, amount, ...more] = positionals;
  if (client === undefined || server === undefined || name === undefined || more.length > 0) {
    throw new UsageError('link wants a client, a server and what to do. The links: npx lab links');
  }
  const mode = modeOf(name, amount, values);
  const control = labControl(io.home);
  const links = await control.links();
  const isMeant = (link: Link) =>
    (client === 'all' || link.client === client) && (server === 'all' || link.server === server);
  if (links.length > 0 && !links.some(isMeant)) throw new UsageError(unknownLink(client, server, links));
  const changed = await control.link(client, server, mode);
  io.out(values.json ? JSON.stringify({ links: changed }) : linkLines(changed));
  return 0;
}

function modeOf(name: string, amount: string | undefined, values: Values): LinkMode {
  if (!modes.includes(name)) {
    const [meant] = near(name, modes);
    const hint = meant === undefined ? '' : ` Did you mean ${meant}?`;
    throw new UsageError(`A link cannot '${name}', only ${modes.join(', ')}.${hint}`);
  }
  const takes = { latency: '<ms>', slow: '<bytes/s>', slice: '<bytes>', 'drop-answers': '<text>' };
  const wanted = takes[name as keyof typeof takes];
  if ((amount === undefined) !== (wanted === undefined)) {
    throw new UsageError(wanted === undefined ? `${name} takes no amount` : `${name} wants ${wanted}`);
  }
  if (name !== 'latency' && (values.jitter ?? values.seed) !== undefined)
    throw new UsageError('--jitter and --seed go with latency');
  if (name !== 'drop-answers' && (values.times ?? values.end) !== undefined)
    throw new UsageError('--times and --end go with drop-answers');
  return linkMode.parse({ mode: name, ...(amount === undefined ? {} : amounts(name, amount, values)) });
}

function amounts(name: string, amount: string, { jitter, seed, times, end }: Values): object {
  const number = (text: string, option: string, min: number, max: number) =>
    wholeNumber(text, option, { min, max });
  if (name === 'slow') return { bytesPerSecond: number(amount, 'slow', 1, bytesMax) };
  if (name === 'slice') return { bytes: number(amount, 'slice', 1, 65_536) };
  if (name === 'latency') {
    return {
      ms: number(amount, 'latency', 0, msMax),
      ...(jitter === undefined ? {} : { jitterMs: number(jitter, '--jitter', 0, msMax) }),
      ...(seed === undefined ? {} : { seed: number(seed, '--seed', 0, bytesMax) }),
    };
  }
  return {
    after: amount,
    ...(times === undefined ? {} : { times: number(times, '--times', 1, 1_000_000) }),
    ...(end === undefined ? {} : { end: oneOf(end, '--end', ['silence', 'reset']) }),
  };
}
