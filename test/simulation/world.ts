/** Five services, a bus, a clock, and the people: what a decision of a schedule means among them. */
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { OrderStatus } from '#libs/contracts/orders.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import { inventory } from '#services/inventory/service.ts';
import { logistics } from '#services/logistics/service.ts';
import { notification } from '#services/notification/service.ts';
import { order } from '#services/order/service.ts';
import { payment } from '#services/payment/service.ts';
import { createBus, type Delivery } from './bus.ts';
import type { Clock } from './clock.ts';
import { createIds } from './ids.ts';
import { describeViolation, judge, type Violation } from './judge.ts';
import type { Mutant } from './mutant.ts';
import { createPeople } from './people.ts';
import { createReplica, type Replica } from './replica.ts';
import type { Stores } from './run.ts';
import type { Decision, Schedule } from './schedule.ts';
import { ordersIn, type Story } from './story.ts';

export const definitions: Readonly<Record<ServiceName, ServiceDefinition>> = {
  order,
  payment,
  inventory,
  logistics,
  notification,
};

/** Far more than any schedule of the size needs: a run that never comes to rest is a finding. */
const roundsMax = 400;
const batchMessagesMax = 8;

export type World = ReturnType<typeof createWorld>;

export function createWorld(options: { stores: Stores; mutant: Mutant; clock: Clock; story: Story }) {
  const { stores, mutant, clock, story } = options;
  const services = { ...definitions, ...mutant.services };
  const bus = createBus(services);
  const newId = createIds();
  const violations: Violation[] = [];
  const entries = serviceNames.map((service): [ServiceName, Replica] => [
    service,
    createReplica({
      ...{ definition: services[service], store: stores[service], bus, clock, newId, mutant, story },
      onUnexpected: (error, { intent }) =>
        find([{ rule: 'no surprise', orderId: intent.cause.orderId, detail: String(error) }]),
    }),
  ]);
  const replicas = Object.fromEntries(entries) as Record<ServiceName, Replica>;
  const people = createPeople({ replica: replicas.order, store: stores.order, clock, newId, story });

  function find(found: readonly Violation[]): void {
    violations.push(...found);
    for (const violation of found) story.note('checker', describeViolation(violation));
  }

  async function look(quiet: boolean): Promise<void> {
    if (!quiet) story.count('looked');
    const found = await judge(stores, bus.stream, clock.now(), { quiet, accepted: people.accepted });
    if (quiet) found.push(...people.broken(await people.statuses()));
    find(found);
  }

  /** From the front, so that without decisions everything comes in order. */
  async function deliver(first: Delivery, more: number, fate: Parameters<Replica['deliver']>[1]) {
    const others = bus.pending.filter((one) => one !== first && one.service === first.service);
    const taken = [first, ...others.slice(0, more)];
    bus.pending = bus.pending.filter((one) => !taken.includes(one));
    await replicas[first.service].deliver(taken, fate);
  }

  async function follow(decision: Decision): Promise<void> {
    const picked = 'pick' in decision ? bus.pending[decision.pick % bus.pending.length] : undefined;
    switch (decision.do) {
      case 'deliver':
        if (picked) await deliver(picked, decision.more, decision.fate);
        break;
      case 'hold':
        if (!picked) break;
        bus.pending = bus.pending.filter((one) => one !== picked);
        bus.held.push(picked);
        story.count('held', `${describe(picked)} is late`);
        break;
      case 'repeat':
        if (!picked) break;
        bus.pending.push({ ...picked });
        story.count('repeated', `${describe(picked)} will come twice`);
        break;
      case 'cancel':
        await people.cancel(decision.order, decision.fate);
        break;
      case 'deadline':
        await people.passDeadlines(decision.replicas, decision.fate);
        break;
      case 'relay':
        await replicas[decision.service].relay(decision.fate);
    }
  }

  /** One thing that is left to do; gives whether there was any. */
  async function goOn(): Promise<boolean> {
    const [first] = bus.pending;
    if (first) {
      await deliver(first, batchMessagesMax, 'well');
      return true;
    }
    if (bus.held.length > 0) {
      bus.pending = bus.held;
      bus.held = [];
      return true;
    }
    const isLeft = await Promise.all(serviceNames.map(leavesAny));
    const left = serviceNames.filter((_, index) => isLeft[index]);
    // One after another: the order in which databases answer is no part of the schedule.
    for (const service of left) await replicas[service].relay('well');
    return left.length > 0 || (await people.passDeadlines(1, 'well')) > 0;
  }

  async function leavesAny(service: ServiceName): Promise<boolean> {
    await replicas[service].markStored();
    const left = `select from outbox where published_at is null limit 1`;
    return (await stores[service].read(left, clock.now())).length > 0;
  }

  return {
    violations: violations as readonly Violation[],
    place: ({ stories, together }: Schedule) => people.place(stories, together),
    follow,
    look: () => look(false),
    async comeToRest(afterEach: () => Promise<void>) {
      for (let round = 0; round < roundsMax && violations.length === 0; round++) {
        if (await goOn()) {
          await afterEach();
          continue;
        }
        story.note('', 'all is quiet');
        return look(true);
      }
      if (violations.length === 0)
        find([{ rule: 'rest', orderId: null, detail: `no rest after ${roundsMax} rounds` }]);
    },
    ends: async (): Promise<OrderStatus[]> => [...(await people.statuses()).values()],
  };
}

const describe = ({ service, message }: Delivery): string =>
  `${message.subject} of ${ordersIn(message.body)} for ${service}`;
