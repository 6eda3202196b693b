/** The spans of a global transaction: each order's own in its own trace. */
import { trace } from '@opentelemetry/api';
import { type ReadableSpan, TracerProvider } from '@opentelemetry/sdk-trace';
import { afterAll, expect, test, vi } from 'vitest';

// Read once, when the module is loaded: whether this process traces.
vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:9');
const { traceTransaction } = await import('#libs/telemetry/transaction-trace.ts');
afterAll(() => {
  vi.unstubAllEnvs();
  trace.disable();
});

test('The span of each order of a group bears the attempt of that order', () => {
  const started: ReadableSpan[] = [];
  const noting = {
    onStart: (span: ReadableSpan) => started.push(span),
    onEnd: () => {},
    forceFlush: async () => {},
    shutdown: async () => {},
  };
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [noting] }));
  const orders = ['a', 'b', 'c'].map((digit, index) => ({
    orderId: digit,
    traceparent: `00-${digit.repeat(32)}-${'1'.repeat(16)}-01`,
    attempt: 3 - index,
  }));
  const { noted } = traceTransaction('a transaction', orders, { 'two_phase.mode': 'grouped' });
  const told = started.map((span) => {
    const { 'saga.order_id': orderId, 'saga.attempt': attempt } = span.attributes;
    return [span.spanContext().traceId[0], orderId, attempt];
  });
  expect(told).toEqual([
    ['a', 'a', 3],
    ['b', 'b', 2],
    ['c', 'c', 1],
  ]);
  // The decision log keeps what it kept: the attempt is not its business.
  expect(noted.map((order) => Object.keys(order))).toEqual(
    Array(3).fill(['orderId', 'traceparent', 'spanId']),
  );
});
