/**
 * What the driver asks at every step: does a fault fire here, for this order? Off (`FAULTS` is not `on`) it
 * is the constant `noFaults`, and asking costs one property read.
 */
import { constants } from 'node:os';
import type { FaultBucket } from './bucket.ts';
import { type Fault, type FaultSubject, inScope } from './fault.ts';
import { type CarriedFault, readOrderFaults } from './order-faults.ts';
import type { FaultAction } from './points.ts';
import { createTally } from './tally.ts';

export type Strike = { do: FaultAction; ms: number };
export type Struck = FaultSubject & { faults?: string | undefined };

export type Injector = {
  /** False: no fault can fire, so nothing need be asked. */
  armed(subject: Struck): boolean;
  /** Asks for one point and one order, and counts the hit. */
  strike(point: string, subject: Struck, attempt: number): Promise<Strike | null>;
  stop(): void;
};

export const noFaults: Injector = { armed: () => false, strike: async () => null, stop: () => {} };

/** SIGKILL of this very process: nothing is closed, flushed or said, as in a power cut of one machine. */
export function crash(): Promise<never> {
  // The first process of a container is deaf to its own SIGKILL: the kernel protects it. It exits as if killed.
  if (process.pid === 1) process.exit(128 + constants.signals.SIGKILL);
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

const isSpent = (fault: CarriedFault, attempt: number): boolean =>
  (fault.do === 'error' || fault.do === 'crash') && attempt > fault.times;

export class InjectedError extends Error {
  constructor(point: string) {
    super(`injected error at ${point}`);
    this.name = 'InjectedError';
  }
}

function strikeCarried(point: string, subject: Struck, attempt: number): Strike | null {
  for (const fault of readOrderFaults(subject.faults)) {
    if (fault.at !== point || isSpent(fault, attempt)) continue;
    return { do: fault.do, ms: fault.ms };
  }
  return null;
}

/** Only what orders carry: for a process that does not need the broker, until it has found it. */
export function carriedFaults(onFired: (point: string, action: FaultAction) => void): Injector {
  return {
    armed: (subject) => subject.faults !== undefined,
    async strike(point, subject, attempt) {
      const strike = strikeCarried(point, subject, attempt);
      if (strike) onFired(point, strike.do);
      return strike;
    },
    stop: () => {},
  };
}

export async function createInjector(
  bucket: FaultBucket,
  onFired: (point: string, action: FaultAction) => void,
): Promise<Injector> {
  let active: Fault[] = [];
  const tally = createTally(bucket);
  const stopWatching = await bucket.watch((faults) => {
    active = faults;
  });

  const strikeActive = async (point: string, subject: Struck): Promise<Strike | null> => {
    const now = new Date();
    for (const fault of active) {
      if (fault.at !== point || !inScope(fault, subject, now)) continue;
      if (await tally(fault)) return { do: fault.do, ms: fault.ms };
    }
    return null;
  };

  return {
    armed: (subject) => active.length > 0 || subject.faults !== undefined,
    async strike(point, subject, attempt) {
      const strike = strikeCarried(point, subject, attempt) ?? (await strikeActive(point, subject));
      if (strike) onFired(point, strike.do);
      return strike;
    },
    stop: stopWatching,
  };
}
