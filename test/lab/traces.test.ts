/**
 * What the traces of orders tell, read from what a lab of its own exports over OTLP. The same stories are read
 * from a real Jaeger in test/traces, where there is one; here they need nothing.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findJaeger } from '../../infra/lab/jaeger-binary.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { type OtlpSink, startOtlpSink } from '../support/otlp-sink.ts';
import { crashStories } from '../support/trace-crashes.ts';
import { once } from '../support/trace-shape.ts';
import { sagaStories, transactionStories } from '../support/trace-stories.ts';
import { poor, rich, type TraceWorld } from '../support/trace-world.ts';
import { type Place, place } from './support.ts';

const launchMsMax = 60_000;
const deadlineMs = '120000';
const hasJaeger = (await findJaeger({ env: process.env, say: () => {} })) !== undefined;

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
    ORDER_DEADLINE_MS: deadlineMs,
  };
  lab = await launchLab({ home, portBase, gatewayPort: portBase, env });
}, launchMsMax);

afterAll(async () => {
  await lab?.close();
  sink?.[Symbol.dispose]();
  await where?.[Symbol.asyncDispose]();
}, launchMsMax);

const world = (): TraceWorld => ({
  lab,
  spansOf: async (traceId) => once(sink.spans.filter((span) => span.traceId === traceId)),
});

sagaStories(world);
transactionStories(world);
// These take as long as the broker waits for a dead service: once is enough where test/traces tells them too.
if (!hasJaeger) crashStories(world);

test('Every link of all of these leads to a span that is there', () => {
  const ids = new Set(sink.spans.map(({ spanId }) => spanId));
  const lost = sink.spans.filter(({ links }) => links.some(({ spanId }) => !ids.has(spanId)));
  expect(lost.map(({ service, name }) => `${service}: ${name}`)).toEqual([]);
});

test('No span of all of these says who ordered, or for how much', () => {
  const orders = new Set(sink.spans.flatMap(({ attributes }) => attributes['saga.order_id'] ?? []));
  expect(orders.size).toBeGreaterThan(20);
  const secret = new RegExp(`${rich}|\\b${poor}\\b|(?<![\\w.])(84000|840(\\.00)?)(?![\\w.])`);
  const told = sink.spans.flatMap(({ service, name, said }) =>
    said.filter((each) => secret.test(each)).map((each) => `${service}: ${name}: ${each}`),
  );
  expect(told).toEqual([]);
});
