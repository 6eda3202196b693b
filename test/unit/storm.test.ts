/** What a storm makes of a lab that goes wrong, at a gateway that answers by rule: no lab is started. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Lab } from '#lab/lab.ts';
import { type StormOptions, weather } from '#lab/storm/storm.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import {
  type Asked,
  type GatewayByRule,
  gatewayByRule,
  problem,
  type Rule,
} from '../support/gateway-by-rule.ts';

const slowMs = 30_000;
const taken = ({ key = '' }: Asked) => ({
  status: 202,
  body: { orderId: orderIdOf(key), status: 'PENDING' },
});
const isPlaced = ({ method, path }: Asked) => method === 'POST' && path === '/api/orders';

/** A lab in which all goes well. */
const well: Rule = (asked) => {
  if (isPlaced(asked)) return taken(asked);
  if (asked.path.startsWith('/api/invariants')) return { status: 200, body: { holds: true, rules: [] } };
  if (asked.path.startsWith('/api/faults')) return { status: 200, body: { items: [] } };
  return { status: 200, body: { status: 'DISPATCHED' } };
};

/** Too short for any act: what is looked at here is what comes after them. */
const stormAt = ({ home, lab }: GatewayByRule, quietWithinMs = 5_000) => {
  const options: StormOptions = {
    seed: 3,
    lengthMs: 500,
    protocol: 'saga',
    ordersPerSecond: 60,
    replicas: 1,
    natsNodes: 1,
    home,
    gatewayPort: 0,
    portBase: 0,
    say: () => undefined,
    quietWithinMs,
    patience: { silentMsMax: 500, msMax: 5_000 },
  };
  return weather(lab, options);
};

const closing = (extra: Partial<Lab> = {}) => {
  const seen = { closed: 0 };
  const close = async () => {
    seen.closed += 1;
  };
  return { seen, parts: { heal: async () => ({ resumed: [], started: [], links: [] }), close, ...extra } };
};

describe('A storm', { timeout: slowMs }, () => {
  test('whose lab does well is weathered, and leaves nothing', async () => {
    const { seen, parts } = closing();
    await using gateway = await gatewayByRule(well, parts);
    const result = await stormAt(gateway);
    expect(result.verdict.violations).toEqual([]);
    expect(result).toMatchObject({ weathered: true, evidence: null });
    expect(result.verdict.ends.dispatched).toBe(result.orders.length);
    expect(seen.closed).toBe(1);
    expect(existsSync(gateway.home)).toBe(false);
  });

  test('whose lab cannot be healed says so, keeps everything, places no more orders and takes the lab down', async () => {
    const { seen, parts } = closing({
      heal: () => Promise.reject(new Error('payment was not ready within 60 s\nThe last lines')),
    });
    await using gateway = await gatewayByRule(well, parts);
    const result = await stormAt(gateway);
    expect(result.verdict.violations).toEqual([
      'the lab could not be healed: payment was not ready within 60 s',
    ]);
    expect(result).toMatchObject({ weathered: false, evidence: gateway.home });
    const kept = (name: string) => readFileSync(join(gateway.home, name), 'utf8').trimEnd();
    expect(kept('violations.txt')).toBe(`seed 3\n${result.verdict.violations[0]}`);
    expect(kept('orders.ndjson').split('\n')).toHaveLength(result.orders.length);
    for (const name of ['acts.txt', 'timelines.txt']) expect(existsSync(join(gateway.home, name))).toBe(true);
    expect(seen.closed).toBe(1);
    const before = gateway.asked.length;
    await delay(300);
    expect(gateway.asked.length).toBe(before);
  });

  test('whose lab cannot be stopped is not weathered', async () => {
    const { parts } = closing({ close: () => Promise.reject(new Error('order did not end')) });
    await using gateway = await gatewayByRule(well, parts);
    const result = await stormAt(gateway);
    expect(result).toMatchObject({ weathered: false, evidence: gateway.home });
    expect(result.verdict.violations).toEqual(['the lab could not be stopped: order did not end']);
  });

  test('whose invariants nobody can check says why, and looks at its orders all the same', async () => {
    const unchecked: Rule = (asked) =>
      asked.path.startsWith('/api/invariants') ? problem(503, 'service-unavailable') : well(asked);
    const { parts } = closing();
    await using gateway = await gatewayByRule(unchecked, parts);
    const { verdict, orders } = await stormAt(gateway, 100);
    expect(verdict.violations).toEqual([
      'the invariants could not be checked: service-unavailable (503 service-unavailable)',
    ]);
    expect(verdict.ends.dispatched).toBe(orders.length);
  });

  test('asks again where a single answer goes wrong', async () => {
    const failed = new Set<string>();
    const once: Rule = (asked) => {
      const name = `${asked.method} ${asked.path}`;
      if (isPlaced(asked) || failed.has(name) || failed.size === 6) return well(asked);
      failed.add(name);
      return failed.size % 2 === 0 ? 'reset' : problem(503, 'service-unavailable');
    };
    const { parts } = closing();
    await using gateway = await gatewayByRule(once, parts);
    expect((await stormAt(gateway)).verdict.violations).toEqual([]);
    expect(failed).toContain('DELETE /api/faults');
    expect(failed.size).toBe(6);
  });

  test('finds the order that stands though it was refused, and leaves those that do not', async () => {
    const refused: Rule = (asked) => {
      if (isPlaced(asked)) return problem(422, 'order-refused');
      const [, orderId] = /^\/api\/orders\/([^/]+)$/.exec(asked.path) ?? [];
      if (orderId === undefined) return well(asked);
      if (orderId === orderIdOf('storm-3-0')) return well(asked);
      const wasCancelled = orderId === orderIdOf('storm-3-1');
      return wasCancelled ? { status: 200, body: { status: 'CANCELLED' } } : problem(404, 'not-found');
    };
    const { parts } = closing();
    await using gateway = await gatewayByRule(refused, parts);
    const { verdict, orders } = await stormAt(gateway);
    const orderId = orderIdOf('storm-3-0');
    expect(verdict.violations).toEqual([`I10: ${orderId}: answered 422 order-refused, and is DISPATCHED`]);
    expect(orders.length).toBeGreaterThan(2);
    expect(verdict.ends.refused).toBe(orders.length);
  });

  test('finds the key that is another order when it is sent again', async () => {
    const seen = new Set<string>();
    const forgetful: Rule = (asked) => {
      if (!isPlaced(asked) || asked.key !== 'storm-3-1' || !seen.has(asked.key)) {
        seen.add(asked.key ?? '');
        return well(asked);
      }
      return taken({ ...asked, key: 'another' });
    };
    const { parts } = closing();
    await using gateway = await gatewayByRule(forgetful, parts);
    const [first, second] = [orderIdOf('storm-3-1'), orderIdOf('another')];
    expect((await stormAt(gateway)).verdict.violations).toEqual([
      `I10: ${first}: answered 2xx for order ${first}, and then 2xx for order ${second}`,
    ]);
  });
});
