/**
 * The waits-for graph of global transactions, put together from what each database shows of its own sessions.
 * PostgreSQL finds the cycles within one database and breaks them; one that runs through two is nobody's to see,
 * because in each of them there is only a wait (Gray & Reuter, Transaction Processing, §7.11).
 */
import type { InDoubtItem } from '#libs/contracts/two-phase.ts';

/** `holder` stands prepared in this service's database, and `waiter` cannot go on there before it has ended. */
export type Wait = { waiter: string; holder: string; service: string; waitingMs: number };

const branch = /^2pc:([0-9a-f-]{36})/;

/**
 * Who waits for whom, among transactions. Who queues behind another waits for the same holder: the list of those
 * who wait has both. A saga's session is in no cycle, because it holds nothing in another database.
 */
export function waitsFor(items: readonly InDoubtItem[]): Wait[] {
  return items.flatMap(({ service, transactionId: holder, waiting }) =>
    waiting.flatMap(({ who, waitingMs }) => {
      const waiter = branch.exec(who)?.[1];
      return waiter === undefined || waiter === holder ? [] : [{ waiter, holder, service, waitingMs }];
    }),
  );
}

/** A cycle through more than one database, the shortest first found; undefined when there is none. */
export function findCycle(waits: readonly Wait[]): Wait[] | undefined {
  const from = Map.groupBy(waits, ({ waiter }) => waiter);
  for (const start of from.keys()) {
    const cycle = shortestWayBack(start, from);
    if (cycle !== undefined && new Set(cycle.map(({ service }) => service)).size > 1) return cycle;
  }
  return undefined;
}

/** Breadth first, so that the cycle is as short as one through this transaction can be. */
function shortestWayBack(start: string, from: ReadonlyMap<string, Wait[]>): Wait[] | undefined {
  const seen = new Set<string>();
  let ways: Wait[][] = (from.get(start) ?? []).map((wait) => [wait]);
  while (ways.length > 0) {
    const next: Wait[][] = [];
    for (const way of ways) {
      const end = way.at(-1)?.holder ?? start;
      if (end === start) return way;
      if (seen.has(end)) continue;
      seen.add(end);
      for (const wait of from.get(end) ?? []) next.push([...way, wait]);
    }
    ways = next;
  }
  return undefined;
}

/** One sentence for each wait: who, where, for whom, and where it stands prepared itself. */
export function cycleInWords(cycle: readonly Wait[], items: readonly InDoubtItem[]): string[] {
  const letters = new Map(cycle.map(({ waiter }, index) => [waiter, letterOf(index)]));
  const called = (id: string) => letters.get(id) ?? id;
  const preparedIn = (id: string) =>
    items.filter(({ transactionId }) => transactionId === id).map(({ service }) => service);
  return [
    ...cycle.map(({ waiter }) => `${called(waiter)} is 2pc:${waiter}`),
    ...cycle.map(({ waiter, holder, service, waitingMs }) => {
      const places = preparedIn(waiter).join(' and ') || 'nothing';
      return `${called(waiter)} is prepared in ${places}, and waits in ${service} for ${called(holder)} (${waitingMs} ms)`;
    }),
  ];
}

const letterOf = (index: number): string => String.fromCharCode('A'.charCodeAt(0) + index);
