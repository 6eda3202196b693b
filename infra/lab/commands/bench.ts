import { basename, resolve } from 'node:path';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { readNatsUrl } from '#libs/nats/address.ts';
import { labApi } from '../api.ts';
import { type Contender, contenderCalled, contenders } from '../bench/contenders.ts';
import { runFloor } from '../bench/floor.ts';
import { runLoad } from '../bench/load.ts';
import { createMeters } from '../bench/meters.ts';
import { type Report, type Run, reportText } from '../bench/report.ts';
import { readStanding, type Standing } from '../bench/standing.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { type LabState, runningLab } from '../home.ts';

export const summary =
  'Measures orders per second, latency and cost, beside the raw floor of the same run. Two protocols or more: compares them.';
export const positionals = '[saga] [2pc] [2pc-grouped] [2pc-unordered]';
export const options = {
  clients: { type: 'string', value: 'n', description: 'orders under way at once (default: 128)' },
  seconds: { type: 'string', value: 'n', description: 'how long each part is measured (default: 20)' },
  refusals: {
    type: 'string',
    value: 'share',
    description: 'orders that are sold out, and refunded or refused (default: 0)',
  },
  hot: { type: 'boolean', description: 'every order asks for the same dish' },
  'warm-up': {
    type: 'string',
    value: 'n',
    description: 'seconds of load before each protocol is measured (default: 30)',
  },
  beside: {
    type: 'string',
    value: 'home',
    description: 'measures everything in that lab too, such as one with FAULTS=off, and prints the ratios',
  },
  'no-floor': { type: 'boolean', description: 'leave the raw floor out' },
} as const satisfies Options;
export const examples = [
  'npx lab bench saga --clients 128 --seconds 20',
  'npx lab bench saga --clients 1 --json',
  'npx lab bench saga 2pc 2pc-grouped --hot',
  'npx lab bench saga --beside .lab-off',
];

/** Some forty orders a second, each with its end: enough for a p95. */
const acceptSeconds = 10;
const floorWarmUpSeconds = 5;

type Settings = {
  clients: number;
  seconds: number;
  refusals: number;
  warmUpSeconds: number;
  hot: boolean;
};

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const chosen = chosenContenders(positionals);
  const settings = {
    clients: number(values.clients, '--clients', 128),
    seconds: number(values.seconds, '--seconds', 20),
    refusals: number(values.refusals, '--refusals', 0),
    warmUpSeconds: number(values['warm-up'], '--warm-up', 30),
    hot: values.hot ?? false,
  };
  const lab = await openLab(io.home);
  let beside: OpenLab | undefined;
  try {
    if (values.beside !== undefined) beside = await openLab(resolve(values.beside));
    const floor = values['no-floor'] ? null : await measureFloor(lab, settings, io);
    const runs: Run[] = [];
    for (const contender of chosen) {
      const run = await measure(lab, contender, settings, io);
      const ratioToFloor = floor && run.load.ordersPerSecond / floor.result.ordersPerSecond;
      runs.push({ ...run, ratioToFloor });
      if (!beside) continue;
      const other = await measure(beside, contender, settings, io);
      runs.push({ ...other, name: `${other.name} in ${basename(beside.home)}`, ratioToFloor: null });
    }
    const { clients, seconds, refusals, hot } = settings;
    const floors = { floor: floor?.result ?? null, floorPerOrder: floor?.perOrder ?? null };
    const report: Report = { clients, seconds, refusals, hot, ...sizeOf(lab.state), runs, ...floors };
    io.out(values.json ? JSON.stringify(report) : reportText(report));
    return runs.some(({ load }) => load.failed > 0) ? 1 : 0;
  } finally {
    await lab.connection.close();
    await beside?.connection.close();
  }
}

type OpenLab = { home: string; state: LabState; connection: NatsConnection };

async function openLab(home: string): Promise<OpenLab> {
  const state = runningLab(home);
  const connection = await connect({ ...readNatsUrl(state.nats.url), name: 'bench' });
  return { home, state, connection };
}

async function measureFloor({ state, connection }: OpenLab, settings: Settings, io: Io) {
  const { clients, seconds } = settings;
  io.err(`floor: five plain transactions an order, ${clients} clients, ${seconds} s …`);
  const meters = createMeters(state, connection, null);
  const { databases } = state;
  const options = { databases, clients, seconds, warmUpSeconds: floorWarmUpSeconds };
  const result = await runFloor({ ...options, ...meters });
  return { result, perOrder: meters.perOrder(result.orders) };
}

async function measure(
  lab: OpenLab,
  contender: Contender,
  settings: Settings,
  io: Io,
): Promise<Omit<Run, 'ratioToFloor'>> {
  const { state, connection } = lab;
  const { name, body } = contender;
  io.err(`${name}: over HTTP through all processes, ${settings.clients} clients, ${settings.seconds} s …`);
  const meters = createMeters(state, connection, body.protocol);
  const shared = { ...settings, urls: state.urls, contender };
  let standing: Standing = { memoryMb: null, connections: 0 };
  const onMeasured = async () => {
    await meters.onMeasured();
    standing = await readStanding(state);
  };
  const load = await runLoad({ ...shared, until: 'ended', ...meters, onMeasured });
  const perOrder = meters.perOrder(load.orders);
  const run = {
    name,
    load,
    perOrder,
    standing,
    faults: await faultsIn(lab),
    tracing: state.jaegerUrl !== null,
  };
  if (body.protocol !== 'saga') return { ...run, accepted: null };
  io.err(`acceptance: one client, ${acceptSeconds} s …`);
  const quiet = { onMeasuring: async () => {}, onMeasured: async () => {} };
  const one = { clients: 1, seconds: acceptSeconds, warmUpSeconds: 1, until: 'accepted' as const };
  const accepted = (await runLoad({ ...shared, ...one, ...quiet })).latencyMs;
  return { ...run, accepted };
}

async function faultsIn({ home }: OpenLab): Promise<string> {
  const { body } = await labApi(home).request<{ on: boolean; items: unknown[] }>('GET', '/api/faults');
  const { on, items } = body;
  return on ? `on, ${items.length} set` : 'off';
}

/** Gateways, of which there is one for each replica of everything else; nodes of the broker. */
const sizeOf = ({ urls, parts }: LabState) => ({
  replicas: urls.length,
  natsNodes: Object.values(parts).filter(({ kind }) => kind === 'nats').length,
});

function chosenContenders(names: readonly string[]): Contender[] {
  const chosen = (names.length === 0 ? ['saga'] : names).map((name) => {
    const contender = contenderCalled(name);
    if (contender) return contender;
    throw new UsageError(
      `'${name}' cannot be measured; there are: ${contenders.map((each) => each.name).join(', ')}`,
    );
  });
  if (new Set(chosen).size === chosen.length) return chosen;
  throw new UsageError('each protocol is measured once: name it once');
}

function number(text: string | undefined, option: string, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new UsageError(`${option} takes a number, not '${text}'`);
  return value;
}
