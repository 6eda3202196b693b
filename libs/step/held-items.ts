/**
 * The items that wait, by the row that they wait for. An order waits in one place only: what comes later for
 * the same order goes behind it, whatever it needs itself.
 */
import { takeDistinct } from './gather.ts';
import type { Item } from './saga-driver.ts';
import { type Row, rowsOf } from './shared-rows.ts';

/** A person is told after this; how often it is then asked again is the business of who asked. */
const impatientMs = 1_000;

export type Lane = {
  name: string;
  /** Null: no shared row but an order's own, such as its journal entry. */
  row: Row | null;
  queue: Held[];
  /** Whether rows other than its own stopped it: then it looks for them before it decides. */
  looksAround: boolean;
  /** Halved when a batch fails, until the culprit is alone. */
  takeMax: number;
  /** In a row, for contention. */
  attempt: number;
  /** Why it is waited for: told to those who do not wait any longer. */
  error: unknown;
};

export type Held = {
  item: Item;
  lane: Lane;
  /** In a transaction, and no longer in its lane's queue. */
  taken: boolean;
  overdue: boolean;
  timer?: NodeJS.Timeout | undefined;
};

const orderOf = ({ item }: Held): string => item.intent.cause.orderId;

export function createHeldItems(batchMax: number) {
  /** When an item came here first: it may come again. */
  const since = new WeakMap<Item, number>();
  const lanes = new Map<string, Lane>();
  /** Where an order waits, and with how many items. */
  const orders = new Map<string, { lane: Lane; items: number }>();
  let size = 0;

  function add(item: Item, lane: Lane): void {
    const one: Held = { item, lane, taken: false, overdue: false };
    if (!item.patient) {
      const first = since.get(item) ?? performance.now();
      since.set(item, first);
      one.timer = setTimeout(() => expire(one), first + impatientMs - performance.now());
    }
    const order = orders.get(orderOf(one));
    if (order) order.items += 1;
    else orders.set(orderOf(one), { lane, items: 1 });
    lane.queue.push(one);
    size += 1;
  }

  function expire(one: Held): void {
    one.overdue = true;
    // In a transaction it may yet succeed; if not, it is told when it is put back.
    if (!one.taken) fail([one], one.lane.error);
  }

  /** They wait no longer. */
  function release(settled: readonly Held[]): void {
    for (const one of settled) {
      clearTimeout(one.timer);
      size -= 1;
      const order = orders.get(orderOf(one));
      if (order && --order.items === 0) orders.delete(orderOf(one));
    }
  }

  function fail(failed: readonly Held[], error: unknown): void {
    const gone = new Set(failed);
    for (const lane of new Set([...gone].map((one) => one.lane)))
      lane.queue = lane.queue.filter((one) => !gone.has(one));
    release([...gone]);
    for (const { item } of gone) item.failed(error);
  }

  function putBack(lane: Lane, taken: readonly Held[]): void {
    for (const one of taken) one.taken = false;
    lane.queue = [...taken, ...lane.queue];
    fail(
      taken.filter(({ overdue }) => overdue),
      lane.error,
    );
  }

  return {
    lanes,
    size: () => size,
    add,
    release,
    fail,
    putBack,

    open(key: Pick<Lane, 'name' | 'row'>, error: unknown): Lane {
      const lane: Lane = { ...key, queue: [], looksAround: false, takeMax: batchMax, attempt: 0, error };
      lanes.set(lane.name, lane);
      return lane;
    },

    /** What is left goes out as items. */
    close(lane: Lane): Item[] {
      lanes.delete(lane.name);
      const left = lane.queue;
      lane.queue = [];
      release(left);
      return left.map(({ item }) => item);
    },

    /** Undefined for an item that has nothing to wait for, as far as is known. */
    laneOf(item: Item): Lane | undefined {
      const behind = orders.get(item.intent.cause.orderId);
      if (behind) return behind.lane;
      for (const { name } of rowsOf(item.intent)) {
        const lane = lanes.get(name);
        if (lane) return lane;
      }
      return undefined;
    },

    /** The next batch: every order once. */
    take(lane: Lane): Held[] {
      const { batch, left } = takeDistinct(lane.queue, lane.takeMax, orderOf);
      lane.queue = left;
      for (const one of batch) one.taken = true;
      return batch;
    },

    /** One that was taken waits elsewhere now, and what came later for its order waits behind it. */
    move(one: Held, to: Lane): void {
      const from = one.lane;
      const later = from.queue.filter((other) => orderOf(other) === orderOf(one));
      from.queue = from.queue.filter((other) => orderOf(other) !== orderOf(one));
      for (const each of [one, ...later]) each.lane = to;
      const order = orders.get(orderOf(one));
      if (order) order.lane = to;
      one.taken = false;
      to.queue.push(one, ...later);
      if (one.overdue) fail([one], to.error);
    },
  };
}
