/**
 * The reactions of all services in one list. Only tests and the generator of the diagram may import this:
 * a service that knew the whole flow would be an orchestrator.
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
