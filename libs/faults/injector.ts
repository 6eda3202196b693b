/**
 * What the driver asks at every step: does a fault fire here, for this order? Off (`FAULTS` is not `on`) it
 * is the constant `noFaults`, and asking costs one property read.
 */
import type { FaultBucket } from './bucket.ts';
import { type Fault, type FaultSubject, inScope } from './fault.ts';
import { readOrderFaults } from './order-faults.ts';
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

export class InjectedError extends Error {
  constructor(point: string) {
    super(`injected error at ${point}`);
    this.name = 'InjectedError';
  }
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

  const strikeCarried = (point: string, subject: Struck, attempt: number): Strike | null => {
    for (const fault of readOrderFaults(subject.faults)) {
      if (fault.at !== point || (fault.do === 'error' && attempt > fault.times)) continue;
      return { do: fault.do, ms: fault.ms };
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
