/** One of two replicas is told to stop, as every rollout does: nobody who was taken in is left without an answer. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { labControl } from '#lab/control/client.ts';
import { runningLab } from '#lab/home.ts';
import { isOk } from '#lab/nats.ts';
import { signalProcess, waitGone } from '#lab/process.ts';
import { type Protocol, protocols } from '#libs/contracts/orders.ts';
import { endOf, somebody, system } from '../support/api.ts';
import { killPart } from '../support/control.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type SteadyLoad, startLoad } from '../support/steady-load.ts';
import { earlierEnd, ordersEnd, pidOf } from '../support/survivors.ts';
import { bodyOf, keyed } from '../support/two-phase.ts';

const clients = 6;
const stopMsMax = 45_000;
/** Long enough to stop the gateway while an order is on its way, and less than its stop may take. */
const heldMs = 2_000;
const goneWithinMs = 12_000;
let load: SteadyLoad;

beforeAll(async () => {
  load = startLoad(system.urls, clients);
  await ordersEnd(load, 0);
});
afterAll(async () => {
  await load.stop();
  await expectInvariants();
}, 120_000);

const endsOf = (part: string): string[] =>
  readFileSync(system.launcherLog, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${part} ended unasked`));

const replicas = [
  'order-2',
  'payment',
  'inventory-2',
  'logistics',
  'notification-2',
  'coordinator-2',
  'gateway',
];

test('Each kind is stopped once under load of both protocols: no request fails, and every order ends', {
  timeout: stopMsMax,
}, async () => {
  for (const part of replicas) {
    const [pid, ends] = [pidOf(part), endsOf(part).length];
    const stoppedAt = Date.now();
    await killPart(part, 'SIGTERM');
    await ordersEnd(load, stoppedAt);
    // It ended by itself and in time: nobody had to end it.
    expect(endsOf(part).slice(ends)).toEqual([
      expect.stringContaining(`${part} ended unasked (exit code 0)`),
    ]);
    expect(pidOf(part)).not.toBe(pid);
  }
  await labControl(system.home).ready();
  await earlierEnd(load, Date.now());
  expect(load.failures).toEqual([]);
});

test('A gateway that is told to stop answers what it has taken in, and takes nothing more in', {
  timeout: stopMsMax,
}, async () => {
  const [, url = ''] = system.urls;
  const part = 'gateway-2';
  const gateway = runningLab(system.home).parts[part]?.process;
  if (!gateway) throw new Error(`${part} is not running`);
  const faults = [{ at: 'payment.charge', do: 'delay', ms: heldMs }];
  const place = async (protocol: Protocol) => {
    const { key, orderId } = keyed();
    const who = somebody();
    const items = [{ dishId: who.dishId, quantity: 1 }];
    const body = { ...bodyOf({ customerId: who.customerId, items }), protocol, faults };
    const headers = { 'content-type': 'application/json', 'idempotency-key': key, prefer: 'wait=10' };
    const sentAt = Date.now();
    const answer = await fetch(`${url}/api/orders`, { method: 'POST', headers, body: JSON.stringify(body) });
    expect([answer.status, await answer.json()]).toEqual([201, expect.objectContaining({ orderId })]);
    return { protocol, tookMs: Date.now() - sentAt, order: await endOf(orderId) };
  };
  const placing = Promise.all(protocols.map(place));
  await new Promise((resolve) => setTimeout(resolve, heldMs / 4));
  signalProcess(gateway, 'SIGTERM');
  await new Promise((resolve) => setTimeout(resolve, heldMs / 2));
  expect([await isOk(`${url}/livez`), pidOf(part)]).toEqual([false, gateway.pid]);
  for (const { protocol, tookMs, order } of await placing) {
    expect(tookMs).toBeGreaterThanOrEqual(heldMs);
    expect(order).toMatchObject({ status: 'DISPATCHED', protocol });
  }
  expect(await waitGone(gateway, goneWithinMs)).toBe(true);
});
