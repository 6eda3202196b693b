import {
  endStatuses,
  type Order,
  type OrderFault,
  protocols,
  type TimelineItem,
  twoPhaseModes,
} from '#libs/contracts/orders.ts';
import { isCounted, readOrderFaults } from '#libs/faults/order-faults.ts';
import { type LabApi, labApi, type ProblemBody, RequestRefused } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { rupees, table, timelineHeader, timelineLine } from '../format.ts';
import { followStory } from '../story.ts';
import { durationMs, oneOf, wholeNumber } from '../values.ts';

export const summary = 'Places an order. Exit code 1 when it is refused, or has not ended within --wait.';
export const options = {
  customer: {
    type: 'string',
    value: 'id',
    description: 'who pays (default: asha, who has plenty; ravi: nothing)',
  },
  city: {
    type: 'string',
    value: 'name',
    description: 'where to (default: bengaluru; lonavala has no courier)',
  },
  dish: {
    type: 'string',
    value: 'id',
    description: 'what (default: masala-dosa; truffle-thali is sold out)',
  },
  quantity: { type: 'string', value: 'n', description: 'portions of --dish (default: 1)' },
  item: {
    type: 'string',
    value: 'dish:n',
    multiple: true,
    description: 'instead of --dish; may be repeated',
  },
  fault: {
    type: 'string',
    value: 'point=what',
    multiple: true,
    description: 'for this order only, such as error*2, delay:500 or crash (docs/faults.md); may be repeated',
  },
  protocol: { type: 'string', value: 'name', description: 'saga or 2pc (default: saga)' },
  mode: {
    type: 'string',
    value: 'name',
    description: 'with 2pc: single, grouped (orders share a transaction) or unordered (can deadlock)',
  },
  wait: { type: 'string', value: 'time', description: 'for the end of the order, at most 30s' },
  key: { type: 'string', value: 'text', description: 'Idempotency-Key: the same key is the same order' },
  timeline: { type: 'boolean', description: 'wait for the end (default: 10s) and show what happened' },
} as const satisfies Options;
export const examples = [
  'npx lab order --wait 5s',
  'npx lab order --fault inventory.reserve=refuse --timeline',
  'npx lab order --customer ravi --item masala-dosa:2 --item dish-001:1',
  'npx lab order --protocol 2pc --timeline',
];

const waitMsDefault = 10_000;
const waitMsMax = 30_000;

type Values = Arguments<typeof options>['values'];
type Placed = { order: Order; timeline: TimelineItem[] | null };
/** Two-phase commit keeps no trace of an order that a participant refused: the refusal is all there is to tell. */
const refusals = ['order-refused-by-participant', 'order-refused'];

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const body = {
    customerId: values.customer ?? 'asha',
    city: values.city ?? 'bengaluru',
    items: itemsOf(values),
    ...protocolOf(values),
    faults: (values.fault ?? []).map(faultOf),
  };
  const waitMs = waitMsOf(values);
  const api = labApi(io.home);
  const placed = await place(api, body, values, waitMs);
  if ('refused' in placed) {
    io.out(values.json ? JSON.stringify(refusedJson(placed.refused)) : refusedText(placed.refused));
    return 0;
  }
  io.out(values.json ? JSON.stringify(json(placed)) : text(placed, api.jaegerUrl, waitMs));
  return waitMs > 0 && !endStatuses.includes(placed.order.status) ? 1 : 0;
}

async function place(
  api: LabApi,
  body: { protocol?: string },
  values: Values,
  waitMs: number,
): Promise<Placed | { refused: ProblemBody }> {
  const headers: Record<string, string> = {};
  if (waitMs > 0) headers.prefer = `wait=${Math.ceil(waitMs / 1_000)}`;
  if (values.key !== undefined) headers['idempotency-key'] = values.key;
  const startedAt = performance.now();
  const answer = await api
    .request<Order>('POST', '/api/orders', { body, headers })
    .catch((error) => ({ refused: refusalOf(error, body.protocol) }));
  if ('refused' in answer) return answer;
  const order = answer.body;
  if (!values.timeline) return { order, timeline: null };
  const leftMs = Math.max(0, waitMs - (performance.now() - startedAt));
  const timeline: TimelineItem[] = [];
  const story = await followStory(api, order.orderId, leftMs, (item) => timeline.push(item));
  return { order: story.order, timeline };
}

/** What ends an order of two-phase commit as a cancellation ends a saga; anything else goes on being an error. */
function refusalOf(error: unknown, protocol: string | undefined): ProblemBody {
  if (protocol !== '2pc' || !(error instanceof RequestRefused)) throw error;
  if (!refusals.includes(error.problem.code)) throw error;
  return error.problem;
}

/** The saga is not named: so a lab of an older version takes the order as well. */
function protocolOf({ protocol, mode }: Values): { protocol?: string; twoPhase?: string } {
  const named = protocol === undefined ? 'saga' : oneOf(protocol, '--protocol', protocols);
  if (mode !== undefined && named !== '2pc') throw new UsageError('--mode goes with --protocol 2pc');
  if (named === 'saga') return {};
  return {
    protocol: named,
    ...(mode === undefined ? {} : { twoPhase: oneOf(mode, '--mode', twoPhaseModes) }),
  };
}

function itemsOf({ item, dish, quantity }: Values): { dishId: string; quantity: number }[] {
  if (item === undefined) {
    const portions = quantity === undefined ? 1 : wholeNumber(quantity, '--quantity');
    return [{ dishId: dish ?? 'masala-dosa', quantity: portions }];
  }
  if (dish !== undefined || quantity !== undefined) {
    throw new UsageError('--item says dish and quantity: leave --dish and --quantity out');
  }
  return item.map((text) => {
    const match = /^([^:]+)(?::(\d+))?$/.exec(text);
    if (!match?.[1])
      throw new UsageError(`--item wants a dish and how many, such as masala-dosa:2, not '${text}'`);
    return { dishId: match[1], quantity: Number(match[2] ?? 1) };
  });
}

function faultOf(text: string): OrderFault {
  const [fault] = text.includes(' ') ? [] : readOrderFaults(text);
  if (!fault) {
    throw new UsageError(
      `--fault wants a point and what to do, such as payment.charge=refuse, not '${text}'`,
    );
  }
  const ms = fault.do === 'delay' && fault.ms > 0 ? { ms: fault.ms } : {};
  const times = isCounted(fault.do) ? { times: fault.times } : {};
  return { at: fault.at, do: fault.do, ...ms, ...times };
}

function waitMsOf({ wait, timeline }: Values): number {
  if (wait === undefined) return timeline ? waitMsDefault : 0;
  const ms = durationMs(wait, '--wait');
  if (ms <= waitMsMax) return ms;
  throw new UsageError(
    `--wait is at most ${waitMsMax / 1_000}s; follow a longer story with: npx lab watch <order id>`,
  );
}

const json = ({ order, timeline }: Placed) => (timeline === null ? order : { ...order, timeline });

const refusedJson = (problem: ProblemBody) => ({ status: 'REFUSED', reason: reasonOf(problem), problem });

const refusedText = (problem: ProblemBody): string =>
  table(
    [
      ['status', 'REFUSED: nothing has happened'],
      ['reason', reasonOf(problem)],
    ],
    '',
  );

const reasonOf = (problem: ProblemBody): string =>
  ('detail' in problem ? problem.detail : undefined) ?? problem.title;

function text({ order, timeline }: Placed, jaegerUrl: string | null, waitMs: number): string {
  const { orderId, status, reason, total, traceId } = order;
  const rows = [
    ['order', orderId],
    ['status', status],
    ...(reason === null ? [] : [['reason', reason]]),
    ['total', rupees(total)],
    ['trace', jaegerUrl === null ? traceId : `${jaegerUrl}/trace/${traceId}`],
  ];
  const lines = [table(rows, '')];
  if (timeline !== null) lines.push('', timelineHeader(), ...timeline.map(timelineLine));
  if (!endStatuses.includes(status)) {
    const so = waitMs > 0 ? `not at its end within ${waitMs / 1_000} s; ` : '';
    lines.push('', `${so}follow it with: npx lab watch ${orderId}`);
  }
  return lines.join('\n');
}
