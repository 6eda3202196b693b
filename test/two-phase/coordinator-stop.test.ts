/** A coordinator that is told to stop notes what it has ended: nobody has to tell it again. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { somebody } from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';
import { startSecondCoordinator } from '../support/second-coordinator.ts';
import { metric } from '../support/service.ts';
import { keyed, transactionsOf } from '../support/two-phase.ts';

/** An end is noted when its spans are sent, and here the collector is slow to take them. */
const collectorMs = 700;
let collector: Server;
let taken = 0;

beforeAll(async () => {
  collector = createServer((request, response) => {
    request.resume();
    taken += 1;
    setTimeout(() => response.writeHead(200).end(), collectorMs);
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  collector.closeAllConnections();
  collector.close();
  await expectInvariants();
}, 120_000);

const recovered = () => metric('coordinator', /^two_phase_recovered_total/);

test.each([
  ['committed', {}, 'commit'],
  ['refused', { customerId: 'ravi' }, 'abort'],
])(
  'An order that was %s just before its coordinator stopped is ended in the log',
  async (_, over, decision) => {
    const before = await recovered();
    await using second = await startSecondCoordinator({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      // The orders of a test come without a trace that is kept.
      OTEL_TRACES_SAMPLER: 'always_on',
    });
    const { orderId } = keyed();
    const { customerId, dishId } = somebody();
    const sent = taken;
    await second.place({ customerId, items: [{ dishId, quantity: 1 }], ...over }, orderId);
    const exit = await second.end();
    const [transaction] = await transactionsOf(orderId);
    expect(transaction).toMatchObject({ decision, ended: true });
    expect(exit).toEqual({ code: 0, signal: null });
    expect(taken).toBeGreaterThan(sent);
    expect(await recovered()).toBe(before);
  },
);
