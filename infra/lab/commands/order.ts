import { endStatuses, type Order, type OrderFault, type TimelineItem } from '#libs/contracts/orders.ts';
import { readOrderFaults } from '#libs/faults/order-faults.ts';
import { type LabApi, labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { rupees, table, timelineHeader, timelineLine } from '../format.ts';
import { followStory } from '../story.ts';
import { durationMs, wholeNumber } from '../values.ts';

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
    description: 'for this order only: refuse, error, error*2 or delay:500; may be repeated',
  },
  wait: { type: 'string', value: 'time', description: 'for the end of the order, at most 30s' },
  key: { type: 'string', value: 'text', description: 'Idempotency-Key: the same key is the same order' },
  timeline: { type: 'boolean', description: 'wait for the end (default: 10s) and show what happened' },
} as const satisfies Options;
export const examples = [
  'npx lab order --wait 5s',
  'npx lab order --fault inventory.reserve=refuse --timeline',
  'npx lab order --customer ravi --item masala-dosa:2 --item dish-001:1',
];

const waitMsDefault = 10_000;
const waitMsMax = 30_000;

type Values = Arguments<typeof options>['values'];
type Placed = { order: Order; timeline: TimelineItem[] | null };

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const body = {
    customerId: values.customer ?? 'asha',
    city: values.city ?? 'bengaluru',
    items: itemsOf(values),
    faults: (values.fault ?? []).map(faultOf),
  };
  const waitMs = waitMsOf(values);
  const api = labApi(io.home);
  const placed = await place(api, body, values, waitMs);
  io.out(values.json ? JSON.stringify(json(placed)) : text(placed, api.jaegerUrl, waitMs));
  return waitMs > 0 && !endStatuses.includes(placed.order.status) ? 1 : 0;
}

async function place(api: LabApi, body: unknown, values: Values, waitMs: number): Promise<Placed> {
  const headers: Record<string, string> = {};
  if (waitMs > 0) headers.prefer = `wait=${Math.ceil(waitMs / 1_000)}`;
  if (values.key !== undefined) headers['idempotency-key'] = values.key;
  const startedAt = performance.now();
  const { body: order } = await api.request<Order>('POST', '/api/orders', { body, headers });
  if (!values.timeline) return { order, timeline: null };
  const leftMs = Math.max(0, waitMs - (performance.now() - startedAt));
  const timeline: TimelineItem[] = [];
  const story = await followStory(api, order.orderId, leftMs, (item) => timeline.push(item));
  return { order: story.order, timeline };
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
  const times = fault.do === 'error' ? { times: fault.times } : {};
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
