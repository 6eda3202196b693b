/** One run: places the orders, follows the decisions, lets everything come to rest, and judges. */
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { OrderStatus } from '#libs/contracts/orders.ts';
import { createClock } from './clock.ts';
import type { Violation } from './judge.ts';
import { type Mutant, sound } from './mutant.ts';
import type { Schedule } from './schedule.ts';
import type { Store } from './store.ts';
import { createStory, type Story } from './story.ts';
import { createWorld } from './world.ts';

export type Stores = Readonly<Record<ServiceName, Store>>;
export type Run = { violations: readonly Violation[]; story: Story; ends: OrderStatus[] };

export async function run(stores: Stores, schedule: Schedule, mutant: Mutant = sound): Promise<Run> {
  const clock = createClock();
  const story = createStory(clock);
  await Promise.all(serviceNames.map((service) => stores[service].open(mutant.sql?.(service) ?? [])));
  try {
    const world = createWorld({ stores, mutant, clock, story });
    const watch = async () => {
      if (schedule.watched) await world.look();
    };
    await world.place(schedule);
    await watch();
    for (const decision of schedule.decisions) {
      if (world.violations.length > 0) break;
      await world.follow(decision);
      await watch();
    }
    if (world.violations.length === 0) await world.comeToRest(watch);
    return { violations: world.violations, story, ends: await world.ends() };
  } finally {
    await Promise.all(serviceNames.map((service) => stores[service].discard()));
  }
}
