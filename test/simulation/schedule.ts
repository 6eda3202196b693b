/**
 * What happens in a run, as data: some orders, and decisions about what the bus, the processes, the clock and people do
 * meanwhile. A decision names things by their place among those that are there, so that a schedule stays possible
 * when others are taken out of it. Without any decision everything goes in order; each of them is a deviation,
 * which is what makes a shrunk schedule short.
 */
import fc from 'fast-check';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { OrderFault } from '#libs/contracts/orders.ts';
import type { DriverPoint } from '#libs/faults/families.ts';
import { stepPoints } from '#libs/faults/points.ts';
import { cityWithCouriers, cityWithout, poor, rich } from './genesis.ts';

/** How a transaction ends: well, by a crash at this point, or well and with what it says lost on the way to the broker. */
export type Fate = 'well' | DriverPoint | 'publish-lost';

export type Story = {
  customerId: string;
  city: string;
  portions: number;
  /** Injected at a step of this order: it refuses, or its first attempts fail. */
  faults: OrderFault[];
  /** Of the first attempt to place it. Who gets no answer asks again. */
  placing: Fate;
};

export type Decision =
  /** Messages to one service, one transaction or more. 0 is the oldest. */
  | { do: 'deliver'; pick: number; more: number; fate: Fate }
  /** A message comes only when nothing else is on its way. */
  | { do: 'hold'; pick: number }
  | { do: 'repeat'; pick: number }
  | { do: 'cancel'; order: number; fate: Fate }
  /** The deadlines pass, and the watchdog of one replica or two notices. */
  | { do: 'deadline'; replicas: number; fate: Fate }
  | { do: 'relay'; service: ServiceName; fate: Fate };

export type Schedule = {
  stories: Story[];
  /** Placed in one transaction, so that their events travel in one message. */
  together: boolean;
  /** The checker looks after every step, and not only at the end. */
  watched: boolean;
  decisions: Decision[];
};

const ordersMax = 3;
const decisionsMax = 30;

/** The first is the simplest: what is shrunk comes back to it. */
const simplestFirst = { withCrossShrink: true };

const fate: fc.Arbitrary<Fate> = fc.oneof(
  simplestFirst,
  { weight: 4, arbitrary: fc.constant<Fate>('well') },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Fate>(
      'before-commit',
      'after-commit-before-publish',
      'after-publish-before-ack',
      'publish-lost',
    ),
  },
);
const pick = fc.nat(11);

/** Every action that can be injected at a step, but for the delay: lateness is the bus's. */
const fault: fc.Arbitrary<OrderFault> = fc
  .constantFrom(...Object.entries(stepPoints))
  .chain(([at, { actions }]) =>
    fc.record({
      at: fc.constant(at),
      // What waits, waits in real time.
      do: fc.constantFrom(...actions.filter((action) => action !== 'delay' && action !== 'hang')),
      times: fc.constantFrom(1, 2, 20),
    }),
  )
  .map((one) => (isUndo(one.at) && one.times > 2 ? { ...one, times: 2 } : one));

/** What fails for ever would be retried for ever. */
const isUndo = (at: string) => stepPoints[at]?.actions.includes('refuse') === false;

const story: fc.Arbitrary<Story> = fc.record({
  customerId: fc.constantFrom(rich, rich, rich, rich, poor),
  city: fc.constantFrom(cityWithCouriers, cityWithCouriers, cityWithCouriers, cityWithout),
  portions: fc.constantFrom(1, 2, 3),
  faults: fc.oneof(
    simplestFirst,
    { weight: 3, arbitrary: fc.constant<OrderFault[]>([]) },
    { weight: 1, arbitrary: fault.map((one) => [one]) },
  ),
  placing: fate,
});

const decision: fc.Arbitrary<Decision> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('deliver' as const),
      pick,
      more: fc.constantFrom(0, 0, 1, 4),
      fate,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('hold' as const), pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const), pick }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('cancel' as const), order: fc.nat(ordersMax - 1), fate }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('deadline' as const), replicas: fc.constantFrom(1, 2), fate }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('relay' as const),
      service: fc.constantFrom(...serviceNames),
      fate,
    }),
  },
);

export const schedule: fc.Arbitrary<Schedule> = fc.record({
  stories: fc.array(story, { minLength: 1, maxLength: ordersMax, size: 'max' }),
  together: fc.boolean(),
  watched: fc.constantFrom(false, false, false, false, true),
  decisions: fc.array(decision, { maxLength: decisionsMax, size: 'max' }),
});
