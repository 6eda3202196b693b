/** How long the people of a storm repeat their orders, at a gateway that answers by rule. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { startOpenLoad } from '#lab/storm/load.ts';
import { seeded } from '#lab/storm/random.ts';
import { pauseMs } from '#lab/storm/tried.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import { eventually } from '../support/eventually.ts';
import { gatewayByRule, problem } from '../support/gateway-by-rule.ts';

const load = (url: string, patience: { silentMsMax: number; msMax: number }) =>
  startOpenLoad({ urls: [url], seed: 3, ordersPerSecond: 60, protocol: 'saga', patience });

describe('Orders that are not answered', () => {
  test('are repeated as long as others are still being answered', async () => {
    let answeredAtMs = performance.now();
    await using gateway = await gatewayByRule(({ key = '' }) => {
      // One in 500 ms: most of them wait for longer than a silence may last.
      if (performance.now() - answeredAtMs < 500) return problem(503, 'overloaded');
      answeredAtMs = performance.now();
      return { status: 202, body: { orderId: orderIdOf(key), status: 'PENDING' } };
    });
    const silentMsMax = 900;
    const open = load(gateway.lab.url, { silentMsMax, msMax: 60_000 });
    await eventually('four orders', () => open.orders.length > 3);
    const stoppedAtMs = performance.now();
    await open.stop();
    expect(performance.now() - stoppedAtMs).toBeGreaterThan(silentMsMax);
    expect(open.orders.filter(({ answer }) => answer === null)).toEqual([]);
  }, 60_000);

  test('are given up when none was answered for so long, and in the end', async () => {
    await using gateway = await gatewayByRule(() => problem(503, 'service-unavailable'));
    for (const patience of [
      { silentMsMax: 300, msMax: 60_000 },
      { silentMsMax: 60_000, msMax: 300 },
    ]) {
      const open = load(gateway.lab.url, patience);
      await delay(200);
      await open.stop();
      expect(open.orders.length).toBeGreaterThan(2);
      for (const { answer, tries } of open.orders) expect([answer, tries < 6]).toEqual([null, true]);
    }
  }, 30_000);

  test('are repeated less and less often, and not all at once', () => {
    const random = seeded(7);
    const drawn = [1, 2, 3, 4, 5, 50, 5_000].map((tries) =>
      Array.from({ length: 200 }, () => pauseMs(tries, random)),
    );
    for (const [index, longest] of [500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000].entries()) {
      const pauses = drawn[index] ?? [];
      expect(Math.min(...pauses)).toBeGreaterThanOrEqual(longest / 2);
      expect(Math.max(...pauses)).toBeLessThanOrEqual(longest);
      expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(longest / 3);
    }
  });
});
