/**
 * What the driver asks at every step: does a fault fire here, for this order? Off (`FAULTS` is not `on`) it
 * is the constant `noFaults`, and asking costs one property read.
 */
import { constants } from 'node:os';
import { carriedHitsPrefix } from '#libs/nats/streams.ts';
import type { FaultBucket } from './bucket.ts';
import { type Fault, type FaultSubject, inScope } from './fault.ts';
import { createHangs, type Hangs } from './hangs.ts';
import { type CarriedFault, isCounted, readOrderFaults } from './order-faults.ts';
import type { FaultAction } from './points.ts';
import { createTally } from './tally.ts';

/** `over`: when a hang ends. */
export type Strike = { do: FaultAction; ms: number; over?: Promise<void> };
export type Struck = FaultSubject & { faults?: string | undefined };

export type Injector = {
  /** False: no fault can fire, so nothing need be asked. */
  armed(subject: Struck): boolean;
  /** Whether one may fire at this very point: for those who would have to wait before they can ask. */
  aims(point: string, subject: Struck): boolean;
  /** Asks for one point and one order, and counts the hit: durably, before it is told. */
  strike(point: string, subject: Struck, attempt: number): Promise<Strike | null>;
  /** Ends the hangs as well, so that a stop need not wait for them. */
  stop(): void;
};

export const noFaults: Injector = {
  armed: () => false,
  aims: () => false,
  strike: async () => null,
  stop: () => {},
};

/** What an action does to the process, wherever it strikes: it dies, waits, or stands still until it is healed. */
export async function undergo(strike: Strike | null): Promise<void> {
  if (strike?.do === 'crash') await crash();
  if (strike?.do === 'delay') await new Promise((resolve) => setTimeout(resolve, strike.ms));
  if (strike?.do === 'hang') await strike.over;
}

/** SIGKILL of this very process: nothing is closed, flushed or said, as in a power cut of one machine. */
function crash(): Promise<never> {
  // The first process of a container is deaf to its own SIGKILL: the kernel protects it. It exits as if killed.
  if (process.pid === 1) process.exit(128 + constants.signals.SIGKILL);
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

export class InjectedError extends Error {
  constructor(point: string) {
    super(`injected error at ${point}`);
    this.name = 'InjectedError';
  }
}

const isSpent = (fault: CarriedFault, attempt: number): boolean =>
  isCounted(fault.do) && attempt > fault.times;

type Count = (point: string, subject: Struck, fault: CarriedFault) => Promise<boolean>;

async function strikeCarried(
  point: string,
  subject: Struck,
  attempt: number,
  hangs: Hangs,
  count: Count,
): Promise<Strike | null> {
  for (const fault of carriedAt(point, subject)) {
    if (isSpent(fault, attempt) || !(await count(point, subject, fault))) continue;
    return strikeOf(fault, () => hangs.wait(null));
  }
  return null;
}

const carriedAt = (point: string, { faults }: Struck): CarriedFault[] =>
  faults === undefined ? [] : readOrderFaults(faults).filter(({ at }) => at === point);

const strikeOf = (fault: { do: FaultAction; ms: number }, hang: () => Promise<void>): Strike =>
  fault.do === 'hang' ? { do: fault.do, ms: fault.ms, over: hang() } : { do: fault.do, ms: fault.ms };

/** Only what orders carry: for a process that does not need the broker, until it has found it. */
export function carriedFaults(onFired: (point: string, action: FaultAction) => void): Injector {
  const hangs = createHangs();
  return {
    armed: (subject) => subject.faults !== undefined,
    aims: (point, subject) => carriedAt(point, subject).length > 0,
    async strike(point, subject, attempt) {
      const strike = await strikeCarried(point, subject, attempt, hangs, async () => true);
      if (strike) onFired(point, strike.do);
      return strike;
    },
    stop: hangs.stop,
  };
}

export async function createInjector(
  bucket: FaultBucket,
  onFired: (point: string, action: FaultAction) => void,
): Promise<Injector> {
  let active: Fault[] = [];
  const hangs = createHangs();
  const tally = createTally(bucket);
  const stopWatching = await bucket.watch((faults, revision) => {
    active = faults;
    hangs.heard({ faultIds: new Set(faults.map(({ id }) => id)), revision });
  });

  const strikeActive = async (point: string, subject: Struck): Promise<Strike | null> => {
    const now = new Date();
    for (const fault of active) {
      if (fault.at !== point || !inScope(fault, subject, now)) continue;
      if (await tally(fault)) return strikeOf(fault, () => hangs.wait(fault.id, fault.until));
    }
    return null;
  };

  /**
   * Attempts bound what comes with a message. What comes with a request begins at 1 again in the next process, and a
   * crash would meet it for ever: so what ends a process is counted in the bucket, which outlives it.
   */
  const countCarried: Count = async (point, { orderId }, { do: action, times }) => {
    if (action !== 'crash' && action !== 'hang') return true;
    return (await bucket.count(`${carriedHitsPrefix}${orderId}_${point.replaceAll('.', '_')}`, 1, times)) > 0;
  };

  return {
    armed: (subject) => active.length > 0 || subject.faults !== undefined,
    aims(point, subject) {
      if (carriedAt(point, subject).length > 0) return true;
      const now = new Date();
      return active.some((fault) => fault.at === point && inScope(fault, subject, now));
    },
    async strike(point, subject, attempt) {
      const strike =
        (await strikeCarried(point, subject, attempt, hangs, countCarried)) ??
        (await strikeActive(point, subject));
      if (strike) onFired(point, strike.do);
      return strike;
    },
    stop() {
      stopWatching();
      active = [];
      hangs.stop();
    },
  };
}
