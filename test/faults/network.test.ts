/** Rows F10, F11, F12, F23, F24 and F25 of the fault matrix: what is done to processes and connections from outside. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { isOk } from '#lab/nats.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { balanceOf, call, endOf, orderBody, somebody, system } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import {
  bites,
  bitten,
  control,
  isReady,
  linkOf,
  pause,
  turnsRed,
  whileOrdersComeIn,
} from '../support/outside.ts';
import { ordersEnd, pidOf } from '../support/survivors.ts';
import { audit, keyed } from '../support/two-phase.ts';

const slowMs = 120_000;

afterEach(() => control.heal());

test('F10: a database, or one of its backends, is killed: what was committed is there', {
  timeout: slowMs,
}, async () => {
  await whileOrdersComeIn(async (load) => {
    const before = pidOf('payment-db');
    await control.act('payment-db', 'kill');
    await control.ready();
    expect(pidOf('payment-db')).not.toBe(before);
    await ordersEnd(load, Date.now());

    const postmaster = pidOf('inventory-db');
    const [backend] = await audit<{ pid: number }>(
      'inventory',
      "select pid from pg_stat_activity where application_name = 'inventory'",
    );
    if (!backend) throw new Error('the service has no connection');
    process.kill(backend.pid, 'SIGKILL');
    // PostgreSQL ends all the others as well: what they share may be damaged.
    const log = runningLab(system.home).parts['inventory-db']?.log ?? '';
    await eventually('all backends begin anew', () =>
      readFileSync(log, 'utf8').includes('all server processes terminated; reinitializing'),
    );
    expect(readFileSync(log, 'utf8')).toContain(`(PID ${backend.pid}) was terminated by signal 9`);
    expect(pidOf('inventory-db')).toBe(postmaster);
  });
});

describe('F11: the answer to a COMMIT is lost', { timeout: slowMs }, () => {
  test('on the way to a person, who is told that it is unknown, and finds the order when asking again', async () => {
    const { customerId, dishId } = somebody();
    const { key, orderId } = keyed();
    const place = () =>
      call<Order>('POST', '/api/orders', {
        body: orderBody({ customerId, items: [{ dishId, quantity: 1 }] }),
        headers: { 'idempotency-key': key },
      });
    const before = await balanceOf(customerId);
    // The service commits for others as well, the relay for one: of so many, one is the order's.
    const mode = { mode: 'drop-answers', after: 'commit', times: 6, end: 'reset' } as const;
    await control.link('order', 'order-db', mode);
    const unknown = await place();
    expect(unknown.status, unknown.text).toBe(503);
    const placed = await audit('order', 'select from orders where order_id = $1', [orderId]);
    expect(placed).toHaveLength(1);
    await bites('order', 'order-db');

    await control.link('order', 'order-db', { mode: 'pass' });
    const again = await eventually('the same key is answered', async () => {
      const answer = await place();
      return answer.status < 300 ? answer : undefined;
    });
    expect(again.body.orderId).toBe(orderId);
    const { status, total } = await endOf(orderId);
    expect(status).toBe('DISPATCHED');
    expect(await balanceOf(customerId)).toBe(before - total);
  });

  test('to services: each does it once, whether it hears of a broken connection or nothing at all', async () => {
    await whileOrdersComeIn(async (load) => {
      const lost = { mode: 'drop-answers', after: 'commit', times: 3 } as const;
      await bitten('inventory', 'inventory-db', { ...lost, end: 'reset' }, 3);
      await bitten('payment', 'payment-db', { ...lost, end: 'silence' }, 3);
      await bitten('coordinator', 'coordinator-db', { ...lost, end: 'reset' }, 3);
      // Nobody heals anything: the service itself gives up waiting.
      await ordersEnd(load, Date.now());
    });
  });
});

test('F12: the broker is down for more than 10 s: what was accepted meanwhile is carried out', {
  timeout: slowMs,
}, async () => {
  const downMs = 11_000;
  await whileOrdersComeIn(async (load) => {
    const since = Date.now();
    await control.act('nats', 'kill', { hold: true });
    await pause(downMs);
    expect(pidOf('nats')).toBeNull();
    // Two-phase commit needs no broker; the saga goes no further than its first step.
    const ended = load.endedSince(since);
    expect(ended.saga).toBe(0);
    expect(ended['2pc']).toBeGreaterThan(0);
    await control.act('nats', 'start');
  });
});

describe('F23: the network is cut', { timeout: slowMs }, () => {
  test.each(['cut', 'cut-up', 'cut-down'] as const)(
    'between one service and the broker, another and its database (%s): the rest goes on',
    async (mode) => {
      const cutMs = 5_000;
      await whileOrdersComeIn(async (load) => {
        const since = Date.now();
        await Promise.all([
          bitten('payment', 'nats', { mode }),
          bitten('logistics', 'logistics-db', { mode }),
        ]);
        await turnsRed('logistics');
        await pause(cutMs);
        expect((await linkOf('payment', 'payment-db')).mode).toEqual({ mode: 'pass' });
        expect(await Promise.all(['order', 'inventory', 'notification'].map(isReady))).toEqual([
          true,
          true,
          true,
        ]);
        // Nobody assigns a courier: no order can come to a good end.
        expect(load.endedSince(since + 1_000).saga).toBe(0);
      });
    },
  );
});

test('F24: connections are slow, sliced and reset: later, and the same', { timeout: slowMs }, async () => {
  const badMs = 4_000;
  await whileOrdersComeIn(async (load) => {
    await control.link('all', 'all', { mode: 'latency', ms: 20, jitterMs: 30, seed: 24 });
    await bites('payment', 'payment-db', 10);
    await bites('gateway', 'nats', 10);
    await pause(badMs);
    await ordersEnd(load, Date.now());

    await control.link('all', 'all', { mode: 'slice', bytes: 100 });
    await bites('payment', 'payment-db', 10);
    await ordersEnd(load, Date.now());

    await control.link('all', 'all', { mode: 'pass' });
    for (let round = 0; round < 4; round += 1) {
      await control.link('all', 'all', { mode: 'reset' });
      await pause(badMs / 8);
    }
    const resets = (await control.links()).map((link) => link.resets);
    expect(resets.filter((count) => count > 0).length).toBeGreaterThan(10);
  });
});

describe('F25: a process stands still that everybody takes for alive', { timeout: slowMs }, () => {
  /** Who depends on it says so of itself; the gateway depends on all. */
  const kinds = [
    { part: 'payment', red: ['gateway'], goesOn: [] },
    { part: 'coordinator', red: ['gateway'], goesOn: ['saga'] },
    { part: 'notification-db', red: ['notification', 'gateway'], goesOn: ['saga', '2pc'] },
    { part: 'logistics-db', red: ['logistics', 'gateway'], goesOn: [] },
    { part: 'nats', red: ['order', 'payment', 'gateway'], goesOn: [] },
    { part: 'links', red: ['order', 'payment', 'gateway'], goesOn: [] },
  ] as const;

  test('each kind in turn: its dependants turn red, the others go on, and all goes on after it', async () => {
    await whileOrdersComeIn(async (load) => {
      for (const { part, red, goesOn } of kinds) {
        const pid = pidOf(part);
        expect((await control.act(part, 'pause')).state).toBe('paused');
        const since = Date.now();
        await Promise.all(red.map(turnsRed));
        for (const protocol of goesOn) {
          await eventually(`${protocol} goes on without ${part}`, () => load.endedSince(since)[protocol] > 2);
        }
        expect([part, pidOf(part)]).toEqual([part, pid]);
        await control.act(part, 'resume');
        await control.ready();
      }
      await control.act('gateway', 'pause');
      expect(await isOk(`${system.url}/livez`)).toBe(false);
      expect(await isReady('order')).toBe(true);
      await control.act('gateway', 'resume');
    });
  });
});
