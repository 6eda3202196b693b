/** Who asks something of the order service: customers who place and cancel, and the watchdog. */
import { dishIdsOf, type OrderStatus } from '#libs/contracts/orders.ts';
import type { RequestName } from '#libs/contracts/requests.ts';
import { writeOrderFaults } from '#libs/faults/order-faults.ts';
import type { Cause } from '#libs/step/reaction.ts';
import type { Clock } from './clock.ts';
import { dish, price } from './genesis.ts';
import { nameOf, orderIdOf } from './ids.ts';
import type { Violation } from './judge.ts';
import type { Replica } from './replica.ts';
import type { Fate, Story as Placing } from './schedule.ts';
import type { Store } from './store.ts';
import type { Story } from './story.ts';

const deadlineMs = 60_000;
/** How often a person asks for the same when the attempt fails or nobody answers. */
const attemptsMax = 5;

type Row = { orderId: string; status: OrderStatus; deadline: Date };
const selectOrders = `select order_id as "orderId", status, deadline from orders where traceparent <> '' order by order_id`;

export function createPeople(options: {
  replica: Replica;
  store: Store;
  clock: Clock;
  newId(): string;
  story: Story;
}) {
  const { replica, store, clock, newId, story } = options;
  const causes = new Map<string, Cause>();
  const accepted: string[] = [];
  const cancelled = new Set<string>();
  const rows = () => store.read<Row>(selectOrders, clock.now());
  const statuses = async () => new Map((await rows()).map(({ orderId, status }) => [orderId, status]));

  function causeOf(placing: Placing, index: number): Cause {
    const { customerId, city, portions } = placing;
    const orderId = orderIdOf(index);
    const items = [{ dishId: dish, quantity: portions }];
    const createdAt = clock.now();
    const deadline = new Date(createdAt.getTime() + deadlineMs);
    const faults = writeOrderFaults(placing.faults);
    const traceparent = `00-${newId().replaceAll('-', '')}-${'b'.repeat(16)}-00`;
    const priced = { protocol: 'saga', customerId, city, items, total: portions * price };
    const data = { ...priced, traceparent, faults, bodyHash: null, createdAt, deadline };
    const dishIds = dishIdsOf(items);
    return { id: newId(), orderId, customerId, dishIds, data, lamport: 0, traceparent, faults };
  }

  /** The same key, and so the same order id, until there is an answer. */
  async function placeAll(asked: readonly Cause[], first: Fate): Promise<void> {
    let open = asked;
    for (let attempt = 1; attempt <= attemptsMax && open.length > 0; attempt++) {
      const again = attempt === 1 ? open : open.map((cause) => ({ ...cause, id: newId() }));
      const verdicts = await replica.ask(
        'request:place-order',
        again,
        attempt,
        attempt === 1 ? first : 'well',
      );
      for (const [index, verdict] of verdicts.entries()) {
        const { orderId } = again[index] as Cause;
        // A repeat is answered with the order that stands, or with the refusal of the first attempt.
        const stands = verdict?.standing === 'repeat' && (await statuses()).has(orderId);
        if (verdict?.outcome?.outcome === 'done' || stands) accepted.push(orderId);
      }
      open = open.filter((_, index) => !verdicts[index]);
    }
  }

  async function askAbout(on: RequestName, orderIds: readonly string[], reason: string, fate: Fate) {
    let open = orderIds;
    for (let attempt = 1; attempt <= attemptsMax && open.length > 0; attempt++) {
      const asked = open.map((orderId) => ({
        ...(causes.get(orderId) as Cause),
        id: newId(),
        data: { reason },
      }));
      const verdicts = await replica.ask(on, asked, attempt, fate);
      // Who met a crash does not ask again; who met an error does, as the requester makes sure.
      if (fate !== 'well') return;
      open = open.filter((_, index) => !verdicts[index]);
    }
  }

  return {
    accepted: accepted as readonly string[],
    statuses,

    async place(stories: readonly Placing[], together: boolean) {
      const asked = stories.map(causeOf);
      for (const cause of asked) causes.set(cause.orderId, cause);
      for (const [index, { city, customerId, portions, faults }] of stories.entries()) {
        const carries = faults.map((fault) => `, with ${fault.do} at ${fault.at}`).join('');
        story.note(customerId, `wants ${nameOf(orderIdOf(index))}: ${portions} ${dish} to ${city}${carries}`);
      }
      if (together) return placeAll(asked, stories[0]?.placing ?? 'well');
      for (const [index, cause] of asked.entries())
        await placeAll([cause], stories[index]?.placing ?? 'well');
    },

    /** Whatever its state: the page that the customer looks at may be old. */
    async cancel(index: number, fate: Fate) {
      const orderId = orderIdOf(index);
      if (!(await statuses()).has(orderId)) return;
      story.count('cancelled', `${nameOf(orderId)} is to be cancelled`);
      await askAbout('request:cancel-order', [orderId], 'changed my mind', fate);
      const status = (await statuses()).get(orderId);
      if (fate === 'well' && status !== 'DISPATCHED') cancelled.add(orderId);
    },

    /** Gives how many orders were late. */
    async passDeadlines(replicas: number, fate: Fate): Promise<number> {
      const open = (await rows()).filter(({ status }) => status === 'PENDING' || status === 'CONFIRMED');
      if (open.length === 0) return 0;
      const lastMs = Math.max(...open.map(({ deadline }) => deadline.getTime())) - clock.now().getTime();
      if (lastMs >= 0) clock.forward(lastMs + 1);
      story.count('deadline', 'the deadlines pass');
      const late = open.map(({ orderId }) => orderId);
      for (let asks = 0; asks < replicas; asks++) {
        await askAbout('request:deadline', late, 'deadline passed', asks === 0 ? fate : 'well');
      }
      return late.length;
    },

    /** A cancellation that was accepted wins every race. */
    broken(found: ReadonlyMap<string, OrderStatus>): Violation[] {
      return [...cancelled].flatMap((orderId) => {
        const status = found.get(orderId);
        if (status === 'CANCELLED') return [];
        return [{ rule: 'promise', orderId, detail: `its cancellation was accepted, and it is ${status}` }];
      });
    },
  };
}
