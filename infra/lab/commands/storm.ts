import { join } from 'node:path';
import { protocols } from '#libs/contracts/orders.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { doneText } from '../storm/act.ts';
import { runStorm, type StormResult } from '../storm/storm.ts';
import { natsNodesAllowed, replicasMax } from '../topology.ts';
import { oneOf, wholeNumber } from '../values.ts';

export const summary =
  'Starts a lab of its own, lets a seeded storm of faults, kills, pauses and cuts pass over orders that come in, heals everything and checks. Exit code 1 when the storm was not weathered; everything is kept then.';
/** Beside those of a lab that may be running. */
const ports = { gateway: 8090, base: 28_000 } as const;
export const options = {
  seed: { type: 'string', value: 'n', description: 'the same seed is the same schedule (default: 1)' },
  minutes: { type: 'string', value: 'n', description: 'how long it lasts (default: 2)' },
  protocol: { type: 'string', value: 'name', description: 'saga, 2pc or both (default: both)' },
  rate: { type: 'string', value: 'n', description: 'orders per second (default: 15)' },
  replicas: { type: 'string', value: 'n', description: 'of every service (default: 1)' },
  'nats-cluster': { type: 'string', value: 'n', description: 'nodes of the broker, 3 or 5 (default: 1)' },
  port: { type: 'string', value: 'n', description: `its public port (default: ${ports.gateway})` },
  'port-base': {
    type: 'string',
    value: 'n',
    description: `where its other ports begin (default: ${ports.base})`,
  },
} as const satisfies Options;
export const examples = [
  'npx lab storm --seed 7 --minutes 2',
  'npx lab storm --seed 7 --minutes 2 --replicas 2 --nats-cluster 3',
  'npx lab storm --seed 7 --protocol 2pc --json',
];

const minuteMs = 60_000;
/** The end of a storm is calm; in less than this nothing would happen. */
const minutesMin = 0.4;
const minutesMax = 240;
const portMax = 65_535;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const number = (name: keyof typeof options, fallback: number, max: number) =>
    values[name] === undefined ? fallback : wholeNumber(values[name], `--${name}`, { max });
  const seed = number('seed', 1, 2 ** 31);
  const natsNodes = natsNodesAllowed.find((each) => each === number('nats-cluster', 1, portMax));
  if (natsNodes === undefined) throw new UsageError(`--nats-cluster takes ${natsNodesAllowed.join(', ')}`);
  const result = await runStorm({
    seed,
    lengthMs: minutes(values.minutes) * minuteMs,
    protocol:
      values.protocol === undefined ? 'both' : oneOf(values.protocol, '--protocol', [...protocols, 'both']),
    ordersPerSecond: number('rate', 15, 10_000),
    replicas: number('replicas', 1, replicasMax),
    natsNodes,
    home: join(io.home, 'storms', `seed-${seed}`),
    gatewayPort: number('port', ports.gateway, portMax),
    portBase: number('port-base', ports.base, portMax),
    say: io.err,
  });
  io.out(values.json ? JSON.stringify(asJson(result)) : text(result));
  return result.weathered ? 0 : 1;
}

function minutes(text = '2'): number {
  const number = Number(text);
  if (number >= minutesMin && number <= minutesMax) return number;
  throw new UsageError(`--minutes wants a number from ${minutesMin} to ${minutesMax}, not '${text}'`);
}

function asJson({ orders, done, ...result }: StormResult) {
  return { ...result, orders: orders.length, done: done.map((one) => ({ ...one, text: doneText(one) })) };
}

function text({ seed, weathered, orders, acts, fired, verdict, evidence }: StormResult): string {
  const { dispatched, cancelled, refused } = verdict.ends;
  const rules = verdict.invariants?.rules.length ?? 0;
  return [
    `seed ${seed}: ${acts} acts, ${fired} of them bit; ${orders.length} orders: ${dispatched} dispatched, ${cancelled} cancelled, ${refused} refused`,
    weathered
      ? `weathered: all ${rules} invariants hold, and every order is at its end`
      : `NOT WEATHERED: ${verdict.violations.length} violations; everything is kept in ${evidence}`,
    ...verdict.violations.slice(0, 10).map((line) => `  ${line}`),
  ].join('\n');
}
