/** OTEL_TRACES_SAMPLER is obeyed by all services as one: a trace is there whole, or not at all. */
import { expect, inject, test } from 'vitest';
import { launchLab } from '#lab/launch.ts';
import { place as placeOfLab } from '../lab/support.ts';
import { spansInJaeger } from '../support/jaeger-reader.ts';
import { sagaEdges } from '../support/trace-shape.ts';
import { endOf, everyone, expectTrace, place, type TraceWorld } from '../support/trace-world.ts';

const orders = 60;
const share = '0.3';
/** Of 60 at 0.3: outside of this, by chance, once in a million runs. */
const [keptMin, keptMax] = [3, 38];
const testMsMax = 90_000;
/** Exporters send twice a second. */
const spansSentMs = 2_000;

test.skipIf(inject('jaeger') === null)('A share of the traces is kept', { timeout: testMsMax }, async () => {
  await using where = await placeOfLab();
  const { home, portBase } = where;
  const env = { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: share };
  const lab = await launchLab({ home, portBase, gatewayPort: portBase, env, jaeger: 'find' });
  try {
    const world: TraceWorld = { lab, spansOf: (traceId) => spansInJaeger(lab.url, traceId) };
    const placed = await Promise.all(Array.from({ length: orders }, () => place(world)));
    const ended = await Promise.all(placed.map(({ orderId }) => endOf(world, orderId)));
    await new Promise((resolve) => setTimeout(resolve, spansSentMs));
    const kept: string[] = [];
    for (const { orderId, traceId } of ended) {
      if ((await spansInJaeger(lab.url, traceId)).length > 0) kept.push(orderId);
    }
    expect(kept.length).toBeGreaterThanOrEqual(keptMin);
    expect(kept.length).toBeLessThanOrEqual(keptMax);
    const expected = { edges: sagaEdges({}), services: everyone };
    for (const orderId of kept) await expectTrace(world, orderId, expected);
  } finally {
    await lab.close();
  }
});
