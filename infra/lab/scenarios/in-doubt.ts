/** The coordinator goes away between the votes and the decision: what stands prepared blocks until it is back. */
import { setTimeout as delay } from 'node:timers/promises';
import { type InDoubtItem, participantNames, readGid } from '#libs/contracts/two-phase.ts';
import { readInDoubt, seconds, waitingLines } from '../in-doubt.ts';
import { coordinatorName } from '../topology.ts';
import { pauseService } from './pause.ts';
import type { Ending, Stage } from './scenario.ts';
import { type Placed, place, within } from './shop.ts';

export const summary =
  'the coordinator is stopped after the votes: who blocks, who does not, and how it ends';

const dish = 'masala-dosa';
const otherDish = 'dish-001';
/** Long enough to find the order in doubt and stop the coordinator before it decides. */
const undecidedMs = 4_000;
const preparedWithinMs = 3_000;
const queuedWithinMs = 1_500;
const seenWithinMs = 5_000;
const bystanderWithinMs = 3_000;
const stoppedSecondsDefault = 6;
const drainedWithinMs = 45_000;

type Orders = Record<'first' | 'second' | 'bystander' | 'saga' | 'late' | 'third', Placed>;

const names: Record<keyof Orders, string> = {
  first: `A: 2PC, ${dish}`,
  second: `B: 2PC, ${dish}, placed before the coordinator stopped`,
  bystander: `C: saga, ${otherDish}`,
  saga: `D: saga, ${dish}`,
  late: `E: saga, ${otherDish}, placed after D`,
  third: `F: 2PC, ${dish}, placed while the coordinator stood still`,
};

export async function play(stage: Stage): Promise<Ending> {
  const { api, tell, show, home } = stage;
  const stoppedMs = (stage.options.seconds ?? stoppedSecondsDefault) * 1_000;
  const order = (customerId: string, dishId: string, protocol: 'saga' | '2pc') =>
    place(api, { customerId, dishId, protocol });

  const faults = [{ at: 'coordinator.before-decision', do: 'delay' as const, ms: undecidedMs }];
  const first = place(api, { customerId: 'customer-0101', dishId: dish, protocol: '2pc', faults });
  tell(`A, a 2PC order for ${dish}, whose decision the coordinator puts off: ${first.orderId}`);
  const prepared = await within(preparedWithinMs, () => preparedBranches(stage, first.orderId));
  if (prepared === undefined) return gaveUp(stage, first);
  tell(`A is prepared in ${prepared.map(({ service }) => service).join(', ')}; its rows are locked`);
  show(prepared.map(({ gid }) => gid));

  const second = order('customer-0102', dish, '2pc');
  const queued = await within(queuedWithinMs, async () =>
    waitingFor(await inventoryOf(stage, first), isBranch),
  );
  const how = queued === undefined ? stateOf(second) : `waits in inventory for A's row, as ${queued.who}`;
  tell(`B, a 2PC order of another customer for ${dish}: ${how}`);

  // All replicas of it: another one would abort what waits too long.
  const pause = pauseService(home, coordinatorName);
  const stoppedAt = performance.now();
  let during: Ending['claims'];
  let orders: Orders;
  try {
    tell(
      `The coordinator stands still (SIGSTOP, pid ${pause.pids.join(', ')}). Nobody else may decide for it`,
    );
    const bystander = order('customer-0103', otherDish, 'saga');
    await Promise.race([bystander.ended, delay(bystanderWithinMs)]);
    tell(`C, a saga order for ${otherDish}: ${stateOf(bystander)}`);
    const saga = order('customer-0104', dish, 'saga');
    const third = order('customer-0105', dish, '2pc');
    tell(`D, a saga order for ${dish}, and F, one more 2PC order for it, are placed`);
    const sagaWaits = await within(seenWithinMs, async () =>
      waitingFor(await inventoryOf(stage, first), isNoBranch),
    );
    const late = order('customer-0106', otherDish, 'saga');
    orders = { first, second, bystander, saga, late, third };
    tell('Who waits for whom, as the databases tell it:');
    show(await whoWaits(stage));
    await delay(Math.max(0, stoppedMs - (performance.now() - stoppedAt)));
    tell('Just before the coordinator goes on:');
    show(states(orders));
    during = duringOf(orders, sagaWaits !== undefined);
  } finally {
    pause.resume();
  }
  return afterwards(stage, orders, during, performance.now() - stoppedAt);
}

/** What was seen while the coordinator stood still. */
function duringOf(orders: Orders, isSagaSeenWaiting: boolean): Ending['claims'] {
  const isOpen = (placed: Placed) => placed.became() === null;
  return [
    { claim: 'A was prepared in every database', seen: true },
    { claim: 'B, a 2PC order for the same dish, waited', seen: isOpen(orders.second) },
    { claim: 'F, a 2PC order for the same dish, waited', seen: isOpen(orders.third) },
    {
      claim: "D, a saga order for the same dish, waited behind A's branch in inventory",
      seen: isOpen(orders.saga) && isSagaSeenWaiting,
    },
    {
      claim: 'C, a saga order for another dish, ended meanwhile',
      seen: orders.bystander.became() === 'DISPATCHED',
    },
    {
      claim: 'E, a saga order for another dish placed after D, did not wait behind D',
      seen: orders.late.became() === 'DISPATCHED',
    },
  ];
}

async function afterwards(
  stage: Stage,
  orders: Orders,
  during: Ending['claims'],
  stoppedMs: number,
): Promise<Ending> {
  const { tell, show } = stage;
  const resumedAt = performance.now();
  tell(`The coordinator goes on after ${seconds(stoppedMs)} (SIGCONT)`);
  const all = Promise.all(Object.values(orders).map(({ ended }) => ended)).then(() => true);
  const isDrained = await Promise.race([all, delay(drainedWithinMs, false)]);
  const drainedMs = performance.now() - resumedAt;
  tell(isDrained ? `All have ended, ${seconds(drainedMs)} later:` : 'Not all have ended:');
  show(states(orders));
  const isEmpty = await within(seenWithinMs, async () => {
    const { items, missing } = await readInDoubt(stage.api);
    return items.length === 0 && missing.length === 0 ? true : undefined;
  });
  tell(isEmpty ? 'Nothing is in doubt any more' : 'Something is still in doubt: npx lab in-doubt');
  return {
    claims: [
      ...during,
      { claim: 'all ended when the coordinator was back', seen: isDrained },
      { claim: 'nothing was in doubt any more', seen: isEmpty ?? false },
    ],
    figures: {
      stoppedMs: Math.round(stoppedMs),
      drainedMs: Math.round(drainedMs),
      orders: Object.entries(orders).map(([name, { orderId, became, tookMs }]) => {
        return { name: names[name as keyof Orders], orderId, became: became(), tookMs: tookMs() };
      }),
    },
  };
}

function gaveUp({ tell }: Stage, first: Placed): Ending {
  tell(`A was not seen prepared within ${seconds(preparedWithinMs)}: ${stateOf(first)}`);
  return { claims: [{ claim: 'A was prepared in every database', seen: false }], figures: {} };
}

async function preparedBranches({ api }: Stage, orderId: string): Promise<InDoubtItem[] | undefined> {
  const { items } = await readInDoubt(api);
  const branches = items.filter(({ orderIds }) => orderIds.includes(orderId));
  return branches.length === participantNames.length ? branches : undefined;
}

async function inventoryOf({ api }: Stage, { orderId }: Placed): Promise<InDoubtItem | undefined> {
  const { items } = await readInDoubt(api);
  return items.find(({ service, orderIds }) => service === 'inventory' && orderIds.includes(orderId));
}

type Session = InDoubtItem['waiting'][number];
const isBranch = ({ who }: Session) => who.startsWith('2pc:');
const isNoBranch = (session: Session) => !isBranch(session);
const waitingFor = (item: InDoubtItem | undefined, is: (session: Session) => boolean) =>
  item?.waiting.find(is);

async function whoWaits({ api }: Stage): Promise<string[]> {
  const { items } = await readInDoubt(api);
  return items.flatMap((item) => {
    const where = readGid(item.gid)?.participant ?? item.service;
    return waitingLines(item).map((line) => `${where}: ${line}`);
  });
}

const stateOf = (placed: Placed): string => {
  const became = placed.became();
  return became === null ? 'waits' : `${became} after ${seconds(placed.tookMs() ?? 0)}`;
};

const states = (orders: Orders): string[] =>
  Object.entries(orders).map(([name, placed]) => `${names[name as keyof Orders]}: ${stateOf(placed)}`);
