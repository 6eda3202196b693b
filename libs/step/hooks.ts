/**
 * The fault points between a step's writes and its acknowledgement. The driver asks `aimed` first, which waits for
 * nothing: while no fault may fire at the very point, the way goes on in the same turn of the event loop. Undefined
 * when faults are off.
 */
import type { DriverPoint, FaultAction } from '#libs/faults/families.ts';
import { InjectedError, type Injector, undergo } from '#libs/faults/injector.ts';
import { pointOf, strikeIfCounted } from './strike.ts';
import type { Intent, Verdict } from './transact.ts';

export type Struck = ReadonlyMap<Intent, FaultAction>;

export type Reach = {
  /** Those that a fault may strike at this point. */
  aimed(point: DriverPoint, verdicts: readonly Verdict[]): Intent[];
  /** Resolves when the process goes on, with what has struck whom; an injected error is thrown. */
  strike(point: DriverPoint, aimed: readonly Intent[]): Promise<Struck>;
};

export function createReach(injector: Injector): Reach {
  const nameOf = (point: DriverPoint, intent: Intent) => `${pointOf(intent)}.${point}`;

  return {
    aimed(point, verdicts) {
      const aimed: Intent[] = [];
      for (const { intent, standing } of verdicts) {
        if (!injector.armed(intent.cause)) continue;
        // A repeat commits nothing and says nothing: all that is left of it is its acknowledgement.
        if (standing === 'repeat' && point !== 'after-publish-before-ack') continue;
        if (injector.aims(nameOf(point, intent), intent.cause)) aimed.push(intent);
      }
      return aimed;
    },
    async strike(point, aimed) {
      const struck = new Map<Intent, FaultAction>();
      for (const intent of aimed) {
        const at = nameOf(point, intent);
        const strike = await strikeIfCounted(injector, at, intent.cause, intent.attempt);
        if (!strike) continue;
        if (strike.do === 'error') throw new InjectedError(at);
        await undergo(strike);
        struck.set(intent, strike.do);
      }
      return struck;
    },
  };
}
