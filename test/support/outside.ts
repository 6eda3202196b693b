/** Faults from outside, while orders of both protocols come in; and what must be so when they are over. */
import { expect } from 'vitest';
import { labControl } from '#lab/control/client.ts';
import { isOk } from '#lab/nats.ts';
import type { Link, LinkMode } from '#libs/contracts/parts.ts';
import { endOf, eventuallyAll, system } from './api.ts';
import { portOf } from './control.ts';
import { eventually } from './eventually.ts';
import { expectInvariants } from './invariants.ts';
import { isEnd, type SteadyLoad, startLoad } from './steady-load.ts';
import { ordersEnd } from './survivors.ts';

const clients = 4;
const endWithinMs = 80_000;
/** A service tells that it cannot work within the time that its own waits for a connection take. */
const redWithinMs = 8_000;

export const control = labControl(system.home);

/** Orders come in, something breaks, all is healed; then every order has its one end, and every invariant holds. */
export async function whileOrdersComeIn(breakIt: (load: SteadyLoad) => Promise<void>): Promise<void> {
  const load = startLoad(system.urls, clients);
  try {
    await ordersEnd(load, 0);
    await breakIt(load);
    await control.heal();
    await ordersEnd(load, Date.now());
  } finally {
    // Before the load: it would go on trying for as long as something is broken.
    await control.heal();
    await load.stop();
  }
  expect(load.orders.filter(({ answer }) => answer === null).map(({ orderId }) => orderId)).toEqual([]);
  const open = load.orders.filter(({ answer }) => answer && !isEnd(answer));
  await eventuallyAll(open, ({ orderId }) => endOf(orderId, endWithinMs));
  await expectInvariants();
}

export async function linkOf(client: string, server: string): Promise<Link> {
  const found = (await control.links()).find((link) => link.client === client && link.server === server);
  if (!found) throw new Error(`${client} has no link to ${server}`);
  return found;
}

/** Sets the mode, and waits until it has bitten at least so often. */
export async function bitten(client: string, server: string, mode: LinkMode, hitsMin = 1): Promise<void> {
  await control.link(client, server, mode);
  await bites(client, server, hitsMin);
}

export const bites = (client: string, server: string, hitsMin = 1) =>
  eventually(`the link of ${client} to ${server} bites`, async () => {
    return (await linkOf(client, server)).hits >= hitsMin;
  });

/** Whether a service says of itself that it can work; one that says nothing in time cannot. */
export const isReady = (part: string): Promise<boolean> => isOk(`http://127.0.0.1:${portOf(part)}/readyz`);

export const turnsRed = (part: string) =>
  eventually(`${part} is not ready`, async () => !(await isReady(part)), redWithinMs);

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
