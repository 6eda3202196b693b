import { connect } from '@nats-io/transport-node';
import { type FloorResult, runFloor } from '../bench/floor.ts';
import { type LoadResult, runLoad } from '../bench/load.ts';
import { type Reading, readMeters } from '../bench/meters.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { type LabState, runningLab } from '../home.ts';

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
  'no-floor': { type: 'boolean', description: 'leave the raw floor out' },
} as const satisfies Options;
export const examples = [
  'npx lab bench saga --clients 128 --seconds 20',
  'npx lab bench saga --clients 1 --json',
];

const warmUpSecondsMax = 5;
const acceptSeconds = 3;

type Report = {
  clients: number;
  seconds: number;
  refusals: number;
  hot: boolean;
  saga: LoadResult;
  perOrder: Record<string, number | null>;
  accepted: { p50: number; p95: number; p99: number };
  floor: FloorResult | null;
  ratioToFloor: number | null;
};

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [protocol = 'saga'] = positionals;
  if (protocol !== 'saga') throw new UsageError(`'${protocol}' cannot be measured; there is: saga`);
  const lab = runningLab(io.home);
  const clients = number(values.clients, '--clients', 128);
  const seconds = number(values.seconds, '--seconds', 20);
  const refusals = number(values.refusals, '--refusals', 0);
  const hot = values.hot ?? false;
  const warmUpSeconds = Math.min(warmUpSecondsMax, seconds);

  let floor: FloorResult | null = null;
  if (!values['no-floor']) {
    io.err(`floor: five plain transactions an order, ${clients} clients, ${seconds} s …`);
    floor = await runFloor({ databases: lab.databases, clients, seconds, warmUpSeconds });
  }
  io.err(`saga: over HTTP through all processes, ${clients} clients, ${seconds} s …`);
  const { saga, perOrder } = await measureSaga(lab, { clients, seconds, refusals, hot, warmUpSeconds });
  io.err(`acceptance: one client, ${acceptSeconds} s …`);
  const accepted = await runLoad({
    url: lab.url,
    clients: 1,
    seconds: acceptSeconds,
    warmUpSeconds: 1,
    refusals: 0,
    hot,
    until: 'accepted',
  });
  const ratioToFloor = floor ? saga.ordersPerSecond / floor.ordersPerSecond : null;
  const report = {
    clients,
    seconds,
    refusals,
    hot,
    saga,
    perOrder,
    accepted: accepted.latencyMs,
    floor,
    ratioToFloor,
  };
  io.out(values.json ? JSON.stringify(report) : table(report));
  return saga.failed > 0 ? 1 : 0;
}

async function measureSaga(
  lab: LabState,
  load: { clients: number; seconds: number; refusals: number; hot: boolean; warmUpSeconds: number },
) {
  const connection = await connect({ servers: lab.nats.url, name: 'bench' });
  try {
    let before: Reading | undefined;
    let after: Reading | undefined;
    let client = process.cpuUsage();
    const saga = await runLoad({
      url: lab.url,
      ...load,
      until: 'ended',
      onMeasuring: async () => {
        before = await readMeters(lab, connection);
        client = process.cpuUsage();
      },
      onMeasured: async () => {
        client = process.cpuUsage(client);
        after = await readMeters(lab, connection);
      },
    });
    if (!before || !after) throw new Error('the meters were not read');
    const clientMs = (client.user + client.system) / 1_000 / Math.max(saga.orders, 1);
    return { saga, perOrder: { ...costs(before, after, saga.orders), 'cpuMs.client': clientMs } };
  } finally {
    await connection.close();
  }
}

function costs(before: Reading, after: Reading, orders: number): Record<string, number | null> {
  const per = (a: number, b: number) => (b - a) / Math.max(orders, 1);
  const cpu = (['services', 'gateway', 'databases', 'nats'] as const).map((part) => [
    `cpuMs.${part}`,
    before.cpuMs && after.cpuMs ? per(before.cpuMs[part], after.cpuMs[part]) : null,
  ]);
  return {
    ...Object.fromEntries(cpu),
    walSyncs: per(before.walSyncs, after.walSyncs),
    commits: per(before.commits, after.commits),
    messages: per(before.messages, after.messages),
  };
}

function table({ clients, saga, perOrder, accepted, floor, ratioToFloor }: Report): string {
  const row = (name: string, text: string) => `  ${name.padEnd(26)}${text}`;
  const times = ({ p50, p95, p99 }: LoadResult['latencyMs']) =>
    `p50 ${p50.toFixed(1)} ms   p95 ${p95.toFixed(1)} ms   p99 ${p99.toFixed(1)} ms`;
  const lines = [
    row('saga', `${saga.ordersPerSecond.toFixed(0)} orders/s at ${clients} clients, over HTTP`),
    row('  POST to end', times(saga.latencyMs)),
    row(
      '  ended',
      `${saga.dispatched} dispatched, ${saga.cancelled} cancelled, ${saga.unfinished} unfinished, ${saga.failed} failed`,
    ),
    row('  accepted, one client', times(accepted)),
    ...Object.entries(perOrder).map(([name, value]) =>
      row(`  ${name} per order`, value === null ? 'not known on this machine' : value.toFixed(3)),
    ),
  ];
  if (floor && ratioToFloor !== null) {
    lines.push(
      row('raw floor', `${floor.ordersPerSecond.toFixed(0)} orders/s, one plain transaction per step`),
      row('  five steps', times(floor.latencyMs)),
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
