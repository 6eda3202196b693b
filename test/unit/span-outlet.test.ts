/** When spans leave the process: never before their parent here, and `sent` is true to its word. */
import { ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { type ReadableSpan, type SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace';
import { expect, test } from 'vitest';
import { readOrigin, writeOrigin } from '#libs/telemetry/origin.ts';
import { createSpanOutlet } from '#libs/telemetry/span-outlet.ts';
import { askIdOf } from '#libs/telemetry/transaction-trace.ts';

const everyMs = 20;
const afterTheTick = () => new Promise((resolve) => setTimeout(resolve, everyMs * 3));

function place({ queueMax = 100, fails = false } = {}) {
  const out: string[] = [];
  const held: (() => void)[] = [];
  const collector = { isSlow: false, fails };
  const exporter: SpanExporter = {
    export(spans: ReadableSpan[], done) {
      const take = () => {
        if (!collector.fails) out.push(...spans.map(({ name }) => name));
        done({ code: collector.fails ? 1 : 0 });
      };
      if (collector.isSlow) held.push(take);
      else take();
    },
    shutdown: async () => {},
  };
  const outlet = createSpanOutlet({ exporter, everyMs, batchMax: 10, queueMax });
  const tracer = new TracerProvider({ spanProcessors: [outlet] }).getTracer('test');
  const start = (name: string, parent?: Span) =>
    tracer.startSpan(name, {}, parent ? trace.setSpan(ROOT_CONTEXT, parent) : ROOT_CONTEXT);
  return { out, held, collector, outlet, start };
}

test('A span waits for its parent, and its children with it, however deep', async () => {
  const { out, start } = place();
  const step = start('step');
  const flight = start('flight', step);
  start('row', flight).end();
  flight.end();
  await afterTheTick();
  expect(out).toEqual([]);
  step.end();
  await afterTheTick();
  expect(out).toEqual(['step', 'flight', 'row']);
});

test('A span whose parent has ended, or is of another process, waits for nobody', async () => {
  const { out, start } = place();
  const step = start('step');
  const send = start('send', step);
  step.end();
  send.end();
  await afterTheTick();
  expect(out).toEqual(['step', 'send']);
});

test('`sent` resolves after the export of all that had ended, and not before', async () => {
  const { out, held, collector, outlet, start } = place();
  collector.isSlow = true;
  start('first').end();
  let isSent = false;
  void outlet.sent().then(() => {
    isSent = true;
  });
  await afterTheTick();
  expect(isSent).toBe(false);
  held.pop()?.();
  await afterTheTick();
  expect([isSent, out]).toEqual([true, ['first']]);
});

test('A collector that is away holds up nobody, and what is too much is dropped', async () => {
  const { outlet, start, collector, out } = place({ queueMax: 5, fails: true });
  start('lost').end();
  await afterTheTick();
  start('lost as well').end();
  const startedAt = performance.now();
  await outlet.sent();
  expect(performance.now() - startedAt).toBeLessThan(everyMs);
  for (let index = 0; index < 20; index++) start(`span ${index}`).end();
  collector.fails = false;
  await afterTheTick();
  expect(out.length).toBeGreaterThan(0);
  expect(out.length).toBeLessThanOrEqual(5);
});

test('At the end everything goes out, also what waits for a parent that will not end', async () => {
  const { out, outlet, start } = place();
  start('child', start('parent')).end();
  await outlet.shutdown();
  expect(out).toEqual(['child']);
});

test('An origin is read as it was written, and nothing else is taken for one', () => {
  const origin = {
    protocol: '2pc',
    process: '00f067aa0ba902b7',
    parent: 'b7ad6b7169203331',
    attempt: 3,
    startedMs: 1_795_264_583_000,
    on: 'request:close-branch',
  } as const;
  expect(readOrigin(writeOrigin(origin))).toEqual(origin);
  for (const other of [undefined, '', 'rojo=00f067aa0ba902b7', `${writeOrigin(origin)},rojo=1`]) {
    expect(readOrigin(other)).toBeUndefined();
  }
});

test('The spans that ask the participants of a transaction have ids of their own', () => {
  const id = 'b7ad6b716920333f';
  const ids = (['order', 'payment', 'inventory', 'logistics'] as const).map((name) => askIdOf(id, name));
  expect(new Set([id, ...ids]).size).toBe(5);
  for (const each of ids) expect(each).toMatch(/^[0-9a-f]{16}$/);
});
