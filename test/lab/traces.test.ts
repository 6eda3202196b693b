/** What a trace of an order tells, read from what a lab of its own exports over OTLP. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, OrderFault, TwoPhaseMode } from '#libs/contracts/orders.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { type OtlpSink, type Span, startOtlpSink } from '../support/otlp-sink.ts';
import { eventually, type Place, place } from './support.ts';

const launchMsMax = 60_000;
const testMsMax = 20_000;
/** Exporters send twice a second; recovery looks once a second. */
const spansWithinMs = 8_000;
/** Of the exporters: after this long with nothing to do they have sent what they had. */
const flushedMs = 1_200;

let where: Place;
let sink: OtlpSink;
let lab: Lab;

beforeAll(async () => {
  where = await place();
  const { home, portBase } = where;
  sink = await startOtlpSink(portBase + 40);
  const env = {
    OTEL_SDK_DISABLED: 'false',
    OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
  };
  lab = await launchLab({ home, portBase, gatewayPort: portBase, env });
}, launchMsMax);

afterAll(async () => {
  await lab?.close();
  sink?.[Symbol.dispose]();
  await where?.[Symbol.asyncDispose]();
}, launchMsMax);

const rich = 'customer-0007';
const poor = 'ravi';
/** ₹840: its number in paise is no port, so that it is recognised wherever it stands. */
const items = [{ dishId: 'masala-dosa', quantity: 7 }];

type Wanted = {
  customerId?: string;
  protocol?: '2pc';
  twoPhase?: TwoPhaseMode;
  faults?: OrderFault[];
};

async function placed(over: Wanted): Promise<{ status: number; orderId: string }> {
  const key = randomUUID();
  const response = await fetch(`${lab.url}/api/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key, prefer: 'wait=10' },
    body: JSON.stringify({ customerId: rich, city: 'bengaluru', items, ...over }),
  });
  await response.text();
  return { status: response.status, orderId: orderIdOf(key) };
}

const endOf = (orderId: string) =>
  eventually(`${orderId} ends`, async () => {
    const response = await fetch(`${lab.url}/api/orders/${orderId}`);
    const order = (await response.json()) as Order;
    return response.ok && order.endedAt ? order : undefined;
  });

/** The spans of the order's trace, as soon as they are what `check` expects. */
async function traceOf(orderId: string, check: (spans: Span[]) => void): Promise<Span[]> {
  const { traceId } = await endOf(orderId);
  const spansNow = () => sink.spans.filter((span) => span.traceId === traceId);
  await vi.waitFor(() => check(spansNow()), { timeout: spansWithinMs, interval: 50 });
  const spans = spansNow();
  const roots = spans.filter(({ parentId }) => parentId === '');
  expect(roots.map(({ service, name }) => `${service}: ${name}`)).toEqual(['gateway: POST /api/orders']);
  const elsewhere = sink.spans.filter(
    (span) => span.traceId !== traceId && Object.values(span.attributes).includes(orderId),
  );
  expect(elsewhere.filter((span) => 'saga.order_id' in span.attributes)).toEqual([]);
  for (const link of spans.flatMap(({ links }) => links)) {
    await vi.waitFor(() => expect(sink.spans.some(({ spanId }) => spanId === link.spanId)).toBe(true));
  }
  return spans;
}

const orphansOf = (spans: readonly Span[]) => {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  return spans.filter(({ parentId }) => parentId !== '' && !ids.has(parentId));
};
const expectWhole = (spans: readonly Span[]) =>
  expect(orphansOf(spans).map(({ service, name }) => `${service}: ${name}`)).toEqual([]);
const servicesOf = (spans: readonly Span[]) => [...new Set(spans.map(({ service }) => service))].sort();
/** `payment.charge done`: the process spans, each once. */
const stepsOf = (spans: readonly Span[]) =>
  spans
    .filter(({ attributes }) => 'saga.step' in attributes)
    .map(({ attributes }) => `${attributes['saga.step']} ${attributes['saga.outcome']}`)
    .sort();
/** What the coordinator did, with what came of it. */
const phasesOf = (spans: readonly Span[]) =>
  spans
    .filter(({ service }) => service === 'coordinator')
    .map(({ name, attributes }) => {
      const became = ['vote', 'decision', 'state', 'outcome'].map((each) => attributes[`two_phase.${each}`]);
      return [name, ...became.filter((each) => each !== undefined)].join(' ');
    })
    .sort();

const forward = ['order.place', 'payment.charge', 'inventory.reserve', 'order.confirm', 'logistics.assign'];
const branchSteps = [...forward, 'order.dispatch'].map((step) => `${step} done`);
const doneIn2pc = [...branchSteps, 'notification.notify-dispatched done'].sort();
const everyone = ['gateway', 'inventory', 'logistics', 'notification', 'order', 'payment'];
const everyoneIn2pc = ['coordinator', ...everyone];
const each = (verb: string, became: string) => participantNames.map((name) => `${verb} ${name} ${became}`);
const committed = ['two-phase commit committed', 'decide commit', ...each('commit', 'ended')];

describe('The trace of a saga order', { timeout: testMsMax }, () => {
  test('that is dispatched is one tree, through every service and every step', async () => {
    const { status, orderId } = await placed({});
    expect(status).toBe(201);
    const steps = [
      ...branchSteps,
      'notification.notify-confirmed done',
      'notification.notify-dispatched done',
    ];
    const spans = await traceOf(orderId, (found) => {
      expect(stepsOf(found)).toEqual(steps.sort());
      expectWhole(found);
    });
    expect(servicesOf(spans)).toEqual(everyone);
  });

  test('that is compensated shows who refused, and every undo', async () => {
    const { orderId } = await placed({ faults: [{ at: 'logistics.assign', do: 'refuse' }] });
    const done = ['order.place', 'payment.charge', 'inventory.reserve', 'order.confirm'];
    const undone = ['inventory.release', 'payment.refund', 'order.cancel'];
    const heard = ['notification.notify-confirmed', 'notification.notify-cancelled'];
    const steps = [...done, ...undone, ...heard].map((step) => `${step} done`);
    const spans = await traceOf(orderId, (found) => {
      expect(stepsOf(found)).toEqual([...steps, 'logistics.assign refused'].sort());
      expectWhole(found);
    });
    expect(servicesOf(spans)).toEqual(everyone);
    const refused = spans.find(({ attributes }) => attributes['saga.outcome'] === 'refused');
    expect(refused?.attributes['saga.reason']).toBe('injected refusal at logistics.assign');
  });
});

describe('The trace of an order of two-phase commit', { timeout: testMsMax }, () => {
  test('that is committed shows votes, decision and commits, and the steps below the votes', async () => {
    const { status, orderId } = await placed({ protocol: '2pc' });
    expect(status).toBe(201);
    const spans = await traceOf(orderId, (found) => {
      expect(phasesOf(found)).toEqual([...committed, ...each('prepare', 'yes')].sort());
      expect(stepsOf(found)).toEqual(doneIn2pc);
      expectWhole(found);
    });
    expect(servicesOf(spans)).toEqual(everyoneIn2pc);
    for (const name of participantNames) {
      const prepare = spans.find((span) => span.name === `prepare ${name}`);
      const below = spans.filter(({ parentId }) => parentId === prepare?.spanId);
      expect(below.map(({ service }) => service)).toEqual(Array(name === 'order' ? 3 : 1).fill(name));
    }
  });

  test('that is refused shows who voted no, and no commit', async () => {
    const { status, orderId } = await placed({ protocol: '2pc', customerId: poor });
    expect(status).toBe(409);
    const spans = await traceOf(orderId, (found) => {
      // Payment refused on its own: it has nothing to abort, and inventory was never asked.
      expect(phasesOf(found)).toEqual([
        ...['abort logistics ended', 'abort order ended', 'decide abort'],
        ...['prepare logistics yes', 'prepare order yes', 'prepare payment no'],
        'two-phase commit aborted',
      ]);
      expect(stepsOf(found)).toContain('payment.charge refused');
      expectWhole(found);
    });
    expect(servicesOf(spans)).toEqual(['coordinator', 'gateway', 'logistics', 'order', 'payment']);
  });

  test('that shares its transaction with others is its own, and as whole as if it were alone', async () => {
    const count = 12;
    const all = await Promise.all(
      Array.from({ length: count }, () => placed({ protocol: '2pc', twoPhase: 'grouped' })),
    );
    const sizes: number[] = [];
    for (const { status, orderId } of all) {
      expect(status).toBe(201);
      const spans = await traceOf(orderId, (found) => {
        const votes = [...each('perform', 'open'), ...each('prepare', 'yes')];
        expect(phasesOf(found)).toEqual([...committed, ...votes].sort());
        expect(stepsOf(found)).toEqual(doneIn2pc);
        expectWhole(found);
      });
      expect(servicesOf(spans)).toEqual(everyoneIn2pc);
      const size = spans.find(({ name }) => name === 'two-phase commit')?.attributes['two_phase.group_size'];
      sizes.push(Number(size));
    }
    expect(Math.max(...sizes)).toBeGreaterThan(1);
  });

  test('whose coordinator is killed after the decision goes on with the recovery', async () => {
    // What it had to say about earlier orders is sent; what it says about this one dies with it.
    await new Promise((resolve) => setTimeout(resolve, flushedMs));
    const faults: OrderFault[] = [{ at: 'coordinator.after-decision', do: 'crash' }];
    const { status, orderId } = await placed({ protocol: '2pc', faults });
    expect(status).toBe(503);
    const isOfLastLife = ({ service, name }: Span) =>
      service === 'coordinator' && /^(prepare|decide)/.test(name);
    const spans = await traceOf(orderId, (found) => {
      expect(phasesOf(found.filter((span) => !isOfLastLife(span)))).toEqual(
        [...each('commit', 'ended'), 'recover: commit'].sort(),
      );
      expect(stepsOf(found)).toEqual(doneIn2pc);
    });
    expect(servicesOf(spans)).toEqual(everyoneIn2pc);
    // `two-phase commit` never ended, and of the phases below it only some may have been sent before the end.
    const lostParent = (span: Span) =>
      isOfLastLife(span) || branchSteps.includes(`${span.attributes['saga.step']} done`);
    expect(orphansOf(spans).filter((span) => !lostParent(span))).toEqual([]);
    const steps = spans.filter((span) => !isOfLastLife(span) && lostParent(span));
    expect(steps).toHaveLength(branchSteps.length);
    for (const { parentId, service } of steps) {
      const parent = spans.find(({ spanId }) => spanId === parentId);
      expect([undefined, `prepare ${service}`]).toContain(parent?.name);
    }
    const recovery = spans.find(({ name }) => name === 'recover: commit');
    expect(spans.find(({ spanId }) => spanId === recovery?.parentId)?.service).toBe('gateway');
  });
});

test('No span of all of these says who ordered, or for how much', () => {
  const orders = new Set(sink.spans.flatMap(({ attributes }) => attributes['saga.order_id'] ?? []));
  expect(orders.size).toBeGreaterThan(15);
  const secret = new RegExp(`${rich}|\\b${poor}\\b|(?<![\\w.])(84000|840(\\.00)?)(?![\\w.])`);
  const told = sink.spans.flatMap(({ service, name, said }) =>
    said.filter((each) => secret.test(each)).map((each) => `${service}: ${name}: ${each}`),
  );
  expect(told).toEqual([]);
});
