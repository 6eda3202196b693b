import { connect } from '@nats-io/transport-node';
import { type FloorResult, runFloor } from '../bench/floor.ts';
import { type LoadResult, runLoad } from '../bench/load.ts';
import { createMeters } from '../bench/meters.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { runningLab } from '../home.ts';

export const summary = 'Measures orders per second, latency and cost, beside the raw floor of the same run.';
export const positionals = 'saga';
export const options = {
  clients: { type: 'string', value: 'n', description: 'orders under way at once (default: 128)' },
  seconds: { type: 'string', value: 'n', description: 'how long each part is measured (default: 20)' },
  refusals: {
    type: 'string',
    value: 'share',
    description: 'orders that are sold out and refunded (default: 0)',
  },
  hot: { type: 'boolean', description: 'every order asks for the same dish' },
  'warm-up': {
    type: 'string',
    value: 'n',
    description: 'seconds of load before the saga is measured (default: 30)',
  },
  'no-floor': { type: 'boolean', description: 'leave the raw floor out' },
} as const satisfies Options;
export const examples = [
  'npx lab bench saga --clients 128 --seconds 20',
  'npx lab bench saga --clients 1 --json',
];

const acceptSeconds = 3;

type PerOrder = Record<string, number | null>;
type Report = {
  clients: number;
  seconds: number;
  refusals: number;
  hot: boolean;
  saga: LoadResult;
  sagaPerOrder: PerOrder;
  accepted: { p50: number; p95: number; p99: number };
  floor: FloorResult | null;
  floorPerOrder: PerOrder | null;
  ratioToFloor: number | null;
};

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [protocol = 'saga'] = positionals;
  if (protocol !== 'saga') throw new UsageError(`'${protocol}' cannot be measured; there is: saga`);
  const lab = runningLab(io.home);
  const clients = number(values.clients, '--clients', 128);
  const seconds = number(values.seconds, '--seconds', 20);
  const refusals = number(values.refusals, '--refusals', 0);
  const warmUpSeconds = number(values['warm-up'], '--warm-up', 30);
  const hot = values.hot ?? false;
  const load = { url: lab.url, refusals, hot };
  const connection = await connect({ servers: lab.nats.url, name: 'bench' });
  try {
    let floor: FloorResult | null = null;
    let floorPerOrder: PerOrder | null = null;
    if (!values['no-floor']) {
      io.err(`floor: five plain transactions an order, ${clients} clients, ${seconds} s …`);
      const meters = createMeters(lab, connection);
      floor = await runFloor({ databases: lab.databases, clients, seconds, warmUpSeconds: 5, ...meters });
      floorPerOrder = meters.perOrder(floor.orders);
    }
    io.err(`saga: over HTTP through all processes, ${clients} clients, ${seconds} s …`);
    const meters = createMeters(lab, connection);
    const saga = await runLoad({ ...load, clients, seconds, warmUpSeconds, until: 'ended', ...meters });
    const sagaPerOrder = meters.perOrder(saga.orders);
    io.err(`acceptance: one client, ${acceptSeconds} s …`);
    const quiet = { onMeasuring: async () => {}, onMeasured: async () => {} };
    const one = { clients: 1, seconds: acceptSeconds, warmUpSeconds: 1, until: 'accepted' as const };
    const accepted = (await runLoad({ ...load, ...one, ...quiet })).latencyMs;
    const ratioToFloor = floor ? saga.ordersPerSecond / floor.ordersPerSecond : null;
    const figures = { saga, sagaPerOrder, accepted, floor, floorPerOrder, ratioToFloor };
    const report: Report = { clients, seconds, refusals, hot, ...figures };
    io.out(values.json ? JSON.stringify(report) : table(report));
    return saga.failed > 0 ? 1 : 0;
  } finally {
    await connection.close();
  }
}

function table({
  clients,
  saga,
  sagaPerOrder,
  accepted,
  floor,
  floorPerOrder,
  ratioToFloor,
}: Report): string {
  const row = (name: string, text: string) => `  ${name.padEnd(26)}${text}`;
  const times = ({ p50, p95, p99 }: LoadResult['latencyMs']) =>
    `p50 ${p50.toFixed(1)} ms   p95 ${p95.toFixed(1)} ms   p99 ${p99.toFixed(1)} ms`;
  const costs = (perOrder: PerOrder) =>
    Object.entries(perOrder).map(([name, value]) =>
      row(`  ${name} per order`, value === null ? 'not known on this machine' : value.toFixed(3)),
    );
  const lines = [
    row('saga', `${saga.ordersPerSecond.toFixed(0)} orders/s at ${clients} clients, over HTTP`),
    row('  POST to end', times(saga.latencyMs)),
    row(
      '  ended',
      `${saga.dispatched} dispatched, ${saga.cancelled} cancelled, ${saga.unfinished} unfinished, ${saga.failed} failed`,
    ),
    row('  accepted, one client', times(accepted)),
    ...costs(sagaPerOrder),
  ];
  if (floor && ratioToFloor !== null) {
    lines.push(
      row('raw floor', `${floor.ordersPerSecond.toFixed(0)} orders/s, one plain transaction per step`),
      row('  five steps', times(floor.latencyMs)),
      ...costs(floorPerOrder ?? {}),
      row('saga / floor', ratioToFloor.toFixed(2)),
    );
  }
  return lines.join('\n');
}

function number(text: string | undefined, option: string, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new UsageError(`${option} takes a number, not '${text}'`);
  return value;
}
