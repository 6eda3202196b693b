/**
 * The reactions of all services in one list. Only the generator and tests may import this: a service that
 * knew the whole flow would be an orchestrator.
 */
import type { EventType, ServiceName } from '#libs/contracts/events.ts';
import type { RequestName } from '#libs/contracts/requests.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import { inventory } from '#services/inventory/service.ts';
import { logistics } from '#services/logistics/service.ts';
import { notification } from '#services/notification/service.ts';
import { order } from '#services/order/service.ts';
import { payment } from '#services/payment/service.ts';

export const definitions: readonly ServiceDefinition[] = [order, payment, inventory, logistics, notification];

/** A reaction reduced to its names, which is all that a graph needs. */
export type FlowRow = {
  service: ServiceName;
  on: EventType | RequestName;
  direction: 'do' | 'undo';
  step: string;
  undo: string | null;
  coveredBy: string | null;
  saysDone: EventType | null;
  saysRefused: EventType | null;
};

export const flow: readonly FlowRow[] = definitions.flatMap(({ name, reactions }) =>
  reactions.map(({ on, direction, step, done, refused }) => ({
    service: name,
    on,
    direction,
    step: step.name,
    undo: step.undoName ?? null,
    coveredBy: 'coveredBy' in step ? step.coveredBy : null,
    saysDone: done?.say ?? null,
    saysRefused: refused?.say ?? null,
  })),
);

const start: RequestName = 'request:place-order';
/** More hops than any story can have: a cycle is found instead of walked for ever. */
const hopsMax = 50;

/** What runs at a row: the step, or its undo by its own name. */
export const actionOf = ({ direction, step, undo }: FlowRow): string =>
  direction === 'do' ? step : (undo ?? step);

/** The rows of an order that goes well, in their order. */
export function happyPath(): FlowRow[] {
  return follow(start, (row) => row.direction === 'do' && row.saysDone !== null);
}

/** Where a way back begins, and the undos along it, in their order. */
export type Chain = { from: FlowRow; event: EventType; undos: FlowRow[] };

/** A way back begins where a step is refused, or where a request says something about an order that exists. */
export function chains(): Chain[] {
  const refusals = flow.flatMap((from) =>
    from.saysRefused === null ? [] : [{ from, event: from.saysRefused }],
  );
  const requests = flow.flatMap((from) =>
    from.on.startsWith('request:') && from.on !== start && from.saysDone !== null
      ? [{ from, event: from.saysDone }]
      : [],
  );
  return [...refusals, ...requests].map((begin) => {
    return { ...begin, undos: follow(begin.event, ({ direction }) => direction === 'undo') };
  });
}

function follow(from: string, accepts: (row: FlowRow) => boolean): FlowRow[] {
  const path: FlowRow[] = [];
  let on: string | null = from;
  for (let hops = 0; on !== null && hops < hopsMax; hops++) {
    const next: FlowRow | undefined = flow.find((row) => row.on === on && accepts(row));
    if (next) path.push(next);
    on = next?.saysDone ?? null;
  }
  return path;
}
