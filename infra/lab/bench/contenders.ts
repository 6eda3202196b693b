/** What can be measured against each other: a protocol, and for two-phase commit how its orders are run. */
import type { Protocol, TwoPhaseMode } from '#libs/contracts/orders.ts';

export type Contender = {
  name: string;
  /** What its orders carry beside customer, city and items. */
  body: { protocol: Protocol; twoPhase?: TwoPhaseMode };
};

export const contenders: readonly Contender[] = [
  { name: 'saga', body: { protocol: 'saga' } },
  { name: '2pc', body: { protocol: '2pc', twoPhase: 'single' } },
  { name: '2pc-grouped', body: { protocol: '2pc', twoPhase: 'grouped' } },
  { name: '2pc-unordered', body: { protocol: '2pc', twoPhase: 'unordered' } },
];

export function contenderCalled(name: string): Contender | undefined {
  return contenders.find((contender) => contender.name === name);
}
