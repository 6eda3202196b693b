/** How long the rows of orders were locked, as the services count it themselves. */
import type { Protocol } from '#libs/contracts/orders.ts';
import type { LabState } from '../home.ts';

const metric = 'saga_lock_hold_seconds_total';
const answerWithinMs = 5_000;

/** Seconds, summed over orders and services, since the services started; null when no service counts it. */
export async function readLockHold(lab: LabState, protocol: Protocol): Promise<number | null> {
  const services = Object.values(lab.parts).filter(({ kind }) => kind === 'service');
  const held = await Promise.all(
    services.map(async ({ port }) => {
      const signal = AbortSignal.timeout(answerWithinMs);
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { signal });
      return lockHoldIn(await answer.text(), protocol);
    }),
  );
  return held.reduce((sum, each) => (each === null ? sum : (sum ?? 0) + each), null);
}

/** The metric's samples in Prometheus' text format, summed; null when it does not stand there at all. */
export function lockHoldIn(text: string, protocol: Protocol): number | null {
  let isThere = false;
  let sum = 0;
  for (const line of text.split('\n')) {
    const sample = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (line.startsWith(`# TYPE ${metric} `)) isThere = true;
    if (sample?.[1] === metric && sample[2]?.includes(`protocol="${protocol}"`)) sum += Number(sample[3]);
  }
  return isThere ? sum : null;
}
