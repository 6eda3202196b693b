/** What must hold for a choreography, as functions over its rows: a planted broken graph can be fed too. */
import { type EventType, eventTypeNames, eventTypes } from '#libs/contracts/events.ts';
import type { FlowRow } from '../../infra/generate/flow.ts';

/** Where an order's story ends: nobody has to go on from here. */
export const ends: readonly EventType[] = ['order.dispatched', 'order.cancelled'];

const start = 'request:place-order';
const cancellation = 'order.cancellation.requested';
/** More hops than any story can have: a cycle is found instead of walked for ever. */
const hopsMax = 50;

type Rows = readonly FlowRow[];

/** Every event has a listener or is an end. */
export function unheard(rows: Rows): string[] {
  const heard = new Set<string>(rows.map(({ on }) => on));
  return eventTypeNames
    .filter((type) => !heard.has(type) && !ends.includes(type))
    .map((type) => `nobody hears ${type}`);
}

/** Every event is said by exactly the service that the registry names. */
export function wrongSayers(rows: Rows): string[] {
  return eventTypeNames.flatMap((type) => {
    const sayers = new Set(
      rows.filter((row) => row.saysDone === type || row.saysRefused === type).map((row) => row.service),
    );
    const { source } = eventTypes[type];
    if (sayers.size === 0) return [`nobody says ${type}`];
    return [...sayers]
      .filter((service) => service !== source)
      .map((service) => `${service} says ${type}, which is ${source}'s`);
  });
}

/** A service reacts to an event once: its one durable consumer can hand it to one row only. */
export function doubleRows(rows: Rows): string[] {
  const groups = Map.groupBy(rows, ({ service, on }) => `${service} on ${on}`);
  return [...groups].filter(([, same]) => same.length > 1).map(([key]) => `${key} stands in two rows`);
}

/** The steps of an order that goes well, in their order. */
export function forwardPath(rows: Rows): FlowRow[] {
  const path: FlowRow[] = [];
  let on: string | null = start;
  for (let hops = 0; on !== null && hops < hopsMax; hops++) {
    const next: FlowRow | undefined = rows.find(
      (row) => row.on === on && row.direction === 'do' && row.saysDone !== null,
    );
    if (next) path.push(next);
    on = next?.saysDone ?? null;
  }
  return path;
}

/** The steps that are undone from this event on, in the order in which that happens. */
export function undoneFrom(rows: Rows, event: string): string[] {
  const undone: string[] = [];
  let front = [event];
  for (let hops = 0; front.length > 0 && hops < hopsMax; hops++) {
    const reached = rows.filter((row) => row.direction === 'undo' && front.includes(row.on));
    undone.push(...reached.map(({ step }) => step));
    front = reached.flatMap(({ saysDone }) => saysDone ?? []);
  }
  return undone;
}

/** From every failure after a forward step an undo of that step is reached, and in reverse order. */
export function uncompensated(rows: Rows): string[] {
  const path = forwardPath(rows);
  const failures = path.flatMap(({ saysRefused }, index) =>
    saysRefused ? [{ event: saysRefused as string, before: path.slice(0, index) }] : [],
  );
  return [...failures, { event: cancellation, before: path }].flatMap(({ event, before }) => {
    const undone = undoneFrom(rows, event);
    const missing = before
      .map(({ step, coveredBy }) => ({ step, undoneBy: coveredBy ?? step }))
      .filter(({ undoneBy }) => !undone.includes(undoneBy))
      .map(({ step }) => `after ${event} nobody undoes ${step}`);
    const expected = before.filter(({ undo }) => undo !== null).map(({ step }) => step);
    const inReverse = expected.reverse().join() === undone.join();
    return missing.length > 0 || inReverse ? missing : [`after ${event} the undos come as ${undone.join()}`];
  });
}

/** A forward step that may be refused without a word leaves it to the deadline, which must be able to cancel. */
export function withoutDeadline(rows: Rows): string[] {
  const silent = forwardPath(rows).filter(({ on, saysRefused }) => on !== start && saysRefused === null);
  const asks = (on: string) => rows.some((row) => row.on === on && row.saysDone === cancellation);
  const missing = ['request:deadline', 'request:cancel-order'].filter((on) => !asks(on));
  return silent.length > 0 ? missing.map((on) => `${on} does not ask for the cancellation`) : [];
}

/** Steps and undos are exactly the fault points. */
export function pointFlaws(rows: Rows, points: readonly string[]): string[] {
  const names = new Set(rows.flatMap(({ step, undo }) => (undo ? [step, undo] : [step])));
  return [
    ...[...names].filter((name) => !points.includes(name)).map((name) => `${name} is no fault point`),
    ...points.filter((point) => !names.has(point)).map((point) => `no step is called ${point}`),
  ];
}

/** Reactions that no order can reach: from the requests, along what is said. */
export function unreachable(rows: Rows): string[] {
  const reached = new Set<string>(rows.map(({ on }) => on).filter((on) => on.startsWith('request:')));
  for (let hops = 0; hops < hopsMax; hops++) {
    for (const { on, saysDone, saysRefused } of rows) {
      if (!reached.has(on)) continue;
      for (const said of [saysDone, saysRefused]) if (said) reached.add(said);
    }
  }
  return rows.filter(({ on }) => !reached.has(on)).map(({ service, on }) => `${service} never hears ${on}`);
}
