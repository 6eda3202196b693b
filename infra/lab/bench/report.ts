/** What the benchmark says, for a person: each contender by itself, then all of them beside each other. */
import { table } from '../format.ts';
import type { FloorResult } from './floor.ts';
import type { LoadResult } from './load.ts';
import type { PerOrder } from './meters.ts';
import type { Standing } from './standing.ts';

type Times = LoadResult['latencyMs'];

export type Run = {
  name: string;
  load: LoadResult;
  perOrder: PerOrder;
  /** At the end of the measuring. */
  standing: Standing;
  /** Whether the lab would inject any, and how many are set. */
  faults: string;
  /** Whether its services trace every order, which costs a third of the throughput (docs/traces.md). */
  tracing: boolean;
  /** From the POST to the acceptance, one client. Only a saga accepts an order before its end. */
  accepted: Times | null;
  ratioToFloor: number | null;
};

export type Report = {
  clients: number;
  seconds: number;
  refusals: number;
  hot: boolean;
  replicas: number;
  /** 0: somebody else's broker. */
  natsNodes: number;
  runs: Run[];
  floor: FloorResult | null;
  floorPerOrder: PerOrder | null;
};

const nameWidth = 34;

export function reportText({ clients, runs, floor, floorPerOrder }: Report): string {
  return [
    ...runs.flatMap((run) => runLines(run, clients)),
    ...(floor === null ? [] : floorLines(floor, floorPerOrder ?? {})),
    ...runs.flatMap(({ name, ratioToFloor }) =>
      ratioToFloor === null ? [] : [row(`${name} / floor`, ratioToFloor.toFixed(2))],
    ),
    ...(runs.length > 1 ? ['', comparison(runs)] : []),
  ].join('\n');
}

function runLines(run: Run, clients: number): string[] {
  const { name, load, perOrder, standing, faults, tracing, accepted } = run;
  const { ordersPerSecond, latencyMs, dispatched, cancelled, unfinished, failed } = load;
  const ended = `${dispatched} dispatched, ${cancelled} cancelled, ${unfinished} unfinished, ${failed} failed`;
  return [
    row(name, `${ordersPerSecond.toFixed(0)} orders/s at ${clients} clients, over HTTP`),
    row('  POST to end', times(latencyMs)),
    row('  ended', ended),
    ...(accepted === null ? [] : [row('  accepted, one client', times(accepted))]),
    ...costs(perOrder),
    row('  faults', faults),
    row('  tracing', tracing ? 'on; a lab that is started with OTEL_SDK_DISABLED=true goes without' : 'off'),
    row('  database connections', String(standing.connections)),
    ...Object.entries(standing.memoryMb ?? {}).map(([part, mb]) =>
      row(`  memory, ${part}`, `${mb.toFixed(0)} MB`),
    ),
  ];
}

const floorLines = (floor: FloorResult, perOrder: PerOrder): string[] => [
  row('raw floor', `${floor.ordersPerSecond.toFixed(0)} orders/s, one plain transaction per step`),
  row('  five steps', times(floor.latencyMs)),
  ...costs(perOrder),
];

/** A column for each, and beside all but the first how many times the first one's figure it is. */
function comparison(runs: readonly Run[]): string {
  const [first, ...others] = runs;
  if (first === undefined) return '';
  const head = ['', ...runs.map(({ name }) => name), ...others.map(({ name }) => `${name} / ${first.name}`)];
  const rows = Object.keys(figuresOf(first)).map((figure) => {
    const values = runs.map((run) => figuresOf(run)[figure] ?? null);
    const [base = null, ...rest] = values;
    return [figure, ...values.map(written), ...rest.map((value) => ratio(value, base))];
  });
  return table([head, ...rows], '');
}

function figuresOf({ load, perOrder }: Run): PerOrder {
  const { p50, p95, p99 } = load.latencyMs;
  const costs = Object.entries(perOrder).map(([name, value]) => [`${name} per order`, value]);
  return {
    'orders/s': load.ordersPerSecond,
    'p50 ms': p50,
    'p95 ms': p95,
    'p99 ms': p99,
    failed: load.failed,
    ...Object.fromEntries(costs),
  };
}

function written(value: number | null): string {
  if (value === null) return '-';
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 3);
}

const ratio = (value: number | null, base: number | null): string =>
  value === null || base === null || base === 0 ? '-' : `${(value / base).toFixed(2)} ×`;

const row = (name: string, text: string): string => `${`  ${name}`.padEnd(nameWidth)}${text}`;

const times = ({ p50, p95, p99 }: Times): string =>
  `p50 ${p50.toFixed(1)} ms   p95 ${p95.toFixed(1)} ms   p99 ${p99.toFixed(1)} ms`;

const costs = (perOrder: PerOrder): string[] =>
  Object.entries(perOrder).map(([name, value]) =>
    row(`  ${name} per order`, value === null ? 'not known here' : value.toFixed(3)),
  );
