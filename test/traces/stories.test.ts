/** The traces of orders as a real Jaeger has them: the same stories as in test/lab, asked of its query API. */
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { type Lab, launchLab } from '#lab/launch.ts';
import { type Place, place as placeOfLab } from '../lab/support.ts';
import { eventually } from '../support/eventually.ts';
import { readTrace, spansInJaeger } from '../support/jaeger-reader.ts';
import { crashStories } from '../support/trace-crashes.ts';
import { sagaStories, transactionStories } from '../support/trace-stories.ts';
import { endOf, place, type TraceWorld } from '../support/trace-world.ts';

const launchMsMax = 60_000;
const deadlineMs = '120000';

describe.skipIf(inject('jaeger') === null)('In Jaeger', () => {
  let where: Place;
  let lab: Lab;

  beforeAll(async () => {
    where = await placeOfLab();
    const { home, portBase } = where;
    // No message is redelivered in less than 10 s, and meanwhile nobody shall give up.
    const env = { ORDER_DEADLINE_MS: deadlineMs };
    lab = await launchLab({ home, portBase, gatewayPort: portBase, env, jaeger: 'find' });
  }, launchMsMax);

  afterAll(async () => {
    await lab?.close();
    await where?.[Symbol.asyncDispose]();
  }, launchMsMax);

  const world = (): TraceWorld => ({ lab, spansOf: (traceId) => spansInJaeger(lab.url, traceId) });

  sagaStories(world);
  transactionStories(world);
  crashStories(world);

  test('a trace is the same through the gateway, the query API and its third version', async () => {
    const { orderId } = await place(world());
    const { traceId } = await endOf(world(), orderId);
    const throughGateway = await eventually('Jaeger has the trace', () => readTrace(lab.url, traceId));
    const asked = await Promise.all(
      [`/api/traces/${traceId}`, `/api/v3/traces/${traceId}`].map((path) => fetch(`${lab.jaegerUrl}${path}`)),
    );
    expect(asked.map(({ status }) => status)).toEqual([200, 200]);
    expect(await asked[0]?.text()).toContain(throughGateway.traceID);
    expect(await asked[1]?.text()).toContain('resourceSpans');
  });

  test.each([undefined, '2pc'] as const)(
    'no span bears a warning of Jaeger (protocol %s)',
    async (protocol) => {
      const { orderId } = await place(world(), protocol ? { protocol } : {});
      const { traceId } = await endOf(world(), orderId);
      // As long as spans are still on their way, Jaeger warns of their children.
      const warnings = async () => {
        const trace = await readTrace(lab.url, traceId);
        expect(trace?.spans.some(({ operationName }) => operationName.startsWith('POST'))).toBe(true);
        expect(trace?.spans.flatMap((span) => span.warnings ?? [])).toEqual([]);
      };
      await vi.waitFor(warnings, { timeout: 5_000, interval: 200 });
    },
  );
});
