/** The faults of the lab that runs, changed by reading, changing and writing them as a whole. */
import type { Fault } from '#libs/faults/fault.ts';
import type { FaultAction } from '#libs/faults/points.ts';
import { type LabApi, RequestRefused } from './api.ts';

export type ActiveFault = Fault & { hits: number };
export type FaultPoint = { at: string; actions: FaultAction[]; shows: string; look: string };
export type FaultState = { items: ActiveFault[]; points: FaultPoint[]; on: boolean; etag: string };
/** A fault as it is asked for; what is left out gets its default. */
export type NewFault = Pick<Fault, 'id' | 'at' | 'do'> & {
  ms?: number;
  scope?: { orderId?: string; customerId?: string; dishId?: string; share?: number; seed?: number };
  hitsMax?: number;
  until?: string;
};

/** Others may change the faults at the same moment; each of these tries starts from what they wrote. */
const changeTriesMax = 5;

export async function readFaults(api: LabApi): Promise<FaultState> {
  const { body, headers } = await api.request<Omit<FaultState, 'etag'>>('GET', '/api/faults');
  return { ...body, etag: headers.get('etag') ?? '' };
}

/** Writes what `change` makes of the faults that are there. Resolves with those that are active afterwards. */
export async function changeFaults(
  api: LabApi,
  change: (state: FaultState) => readonly (Fault | NewFault)[],
): Promise<ActiveFault[]> {
  for (let attempt = 1; ; attempt++) {
    const state = await readFaults(api);
    const items = change(state);
    try {
      const options = { body: { items: items.map(withoutHits) }, headers: { 'if-match': state.etag } };
      return (await api.request<{ items: ActiveFault[] }>('PUT', '/api/faults', options)).body.items;
    } catch (error) {
      const isChanged = error instanceof RequestRefused && error.problem.code === 'faults-changed';
      if (!isChanged || attempt >= changeTriesMax) throw error;
    }
  }
}

function withoutHits(fault: Fault | NewFault): Fault | NewFault {
  const { hits: _, ...rest } = { hits: 0, ...fault };
  return rest;
}

/** `delay 1000 ms, customer asha, 10 % of the orders, 3 hits at most`: what a fault does, about whom, until when. */
export function describe(fault: Fault | ActiveFault): string {
  const { scope, hitsMax, until } = fault;
  const parts = [
    fault.do === 'delay' ? `delay ${fault.ms} ms` : fault.do,
    scope.orderId === undefined ? '' : `order ${scope.orderId}`,
    scope.customerId === undefined ? '' : `customer ${scope.customerId}`,
    scope.dishId === undefined ? '' : `dish ${scope.dishId}`,
    scope.share === undefined ? '' : `${scope.share * 100} % of the orders (seed ${scope.seed})`,
    hitsMax === undefined ? '' : `${hitsMax} ${hitsMax === 1 ? 'hit' : 'hits'} at most`,
    until === undefined ? '' : `until ${until}`,
  ];
  return parts.filter((part) => part !== '').join(', ');
}
