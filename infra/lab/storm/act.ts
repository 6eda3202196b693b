/** Does what the schedule says, undoes it when its time is over, and keeps what came of it. */

import { type LabApi, labApi } from '../api.ts';
import { changeFaults, readFaults } from '../faults.ts';
import type { Lab } from '../lab.ts';
import { type Act, actText } from './schedule.ts';
import { reasonOf, stubbornly } from './tried.ts';

/** `fired`: what shows that it really happened; null when nothing does. `flaw`: why it could not be done. */
export type Done = { act: Act; fired: string | null; flaw: string | null };

/** The gateway, or the broker behind it, may be what is down at this moment. */
const faultWithinMs = 5_000;

/** Never rejects: what cannot be done, because its target is down at the moment, is told. */
export async function perform(lab: Lab, act: Act, index: number): Promise<Done> {
  try {
    return { act, fired: await performOn(lab, act, index), flaw: null };
  } catch (error) {
    return { act, fired: null, flaw: reasonOf(error) };
  }
}

async function performOn(lab: Lab, act: Act, index: number): Promise<string | null> {
  if (act.kind === 'fault') return withFault(labApi(lab.home), act, `storm-${index}`);
  if (act.kind === 'link') return withLink(lab, act);
  const pid = async () => (await lab.states(act.part))[0]?.pid ?? null;
  const before = await pid();
  if (act.kind === 'kill') {
    await lab.kill(act.part);
    return before === null ? null : `pid ${before} is gone`;
  }
  if (act.kind === 'restart') {
    await lab.restart(act.part);
    return `pid ${before} is now ${await pid()}`;
  }
  if (act.kind === 'stop') {
    await lab.stop(act.part);
    await lasting(act);
    await lab.start(act.part);
    return `pid ${before} is now ${await pid()}`;
  }
  await lab.pause(act.part);
  const [stands] = await lab.states(act.part);
  await lasting(act);
  // Whoever was killed meanwhile has been started again, and does not stand still.
  await lab.resume(act.part).catch(() => undefined);
  return stands?.state === 'paused' ? `pid ${stands.pid} stood still` : null;
}

async function withLink(lab: Lab, act: Act & { kind: 'link' }): Promise<string | null> {
  const { client, server, mode } = act;
  const linkNow = async () =>
    (await lab.links()).find((each) => each.client === client && each.server === server);
  // Counted since the links were started: an earlier reset is no hit of this one.
  const resetsBefore = (await linkNow())?.resets ?? 0;
  const [set] = await lab.link(client, server, mode);
  if (mode.mode === 'reset') {
    const resets = (set?.resets ?? 0) - resetsBefore;
    return resets > 0 ? `${resets} resets` : null;
  }
  await lasting(act);
  const link = await linkNow();
  await lab.link(client, server, { mode: 'pass' });
  return link && link.hits > 0 ? `${link.hits} hits` : null;
}

async function withFault(api: LabApi, act: Act & { kind: 'fault' }, id: string): Promise<string | null> {
  const { at, do: action, ms, share, hitsMax } = act;
  const isOfOrders = !at.endsWith('.http');
  const scope = isOfOrders && share < 1 ? { scope: { share } } : {};
  const fault = { id, at, do: action, ...(action === 'delay' ? { ms } : {}), hitsMax, ...scope };
  await stubbornly(
    () => changeFaults(api, ({ items }) => [...items.filter((each) => each.id !== id), fault]),
    faultWithinMs,
  );
  await lasting(act);
  const { items } = await stubbornly(() => readFaults(api), faultWithinMs);
  const hits = items.find((each) => each.id === id)?.hits ?? 0;
  await stubbornly(
    () => changeFaults(api, (state) => state.items.filter((each) => each.id !== id)),
    faultWithinMs,
  );
  return hits > 0 ? `${hits} hits` : null;
}

const lasting = ({ forMs }: Act) => new Promise((resolve) => setTimeout(resolve, forMs));

export const doneText = ({ act, fired, flaw }: Done): string =>
  `${actText(act)}: ${flaw === null ? (fired ?? 'met nobody') : `could not be done (${flaw})`}`;
