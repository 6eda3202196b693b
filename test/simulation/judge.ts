/** The checker's own rules over the simulated databases, and the promises that no database can show. */
import type pg from 'pg';
import {
  type Facts,
  type ReadOf,
  readEffects,
  readOrders,
  readOutboxes,
  readOutboxIds,
} from '#libs/checker/facts.ts';
import { rules } from '#libs/checker/rules.ts';
import { readBranches } from '#libs/checker/two-phase-facts.ts';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import { nameOf } from './ids.ts';
import type { Store } from './store.ts';

export type Violation = { rule: string; orderId: string | null; detail: string };

/** At any moment: the others are about what has come to an end, or is late, and here lateness is no fault. */
const alwaysTrue = new Set(['I1', 'I2', 'I3', 'I4', 'I5', 'I7']);

export async function judge(
  stores: Readonly<Record<ServiceName, Store>>,
  stream: ReadonlySet<string>,
  now: Date,
  options: { quiet: boolean; accepted: readonly string[] },
): Promise<Violation[]> {
  const facts = await gather(inOneFlight(stores, now), stream);
  return rules
    .filter(({ id }) => options.quiet || alwaysTrue.has(id))
    .flatMap(({ id, check }) =>
      check(facts, options).violations.map((violation) => ({ rule: id, ...violation })),
    );
}

/** What the checker has asked each service so far. */
const asked = new Map<ServiceName, Set<string>>(serviceNames.map((service) => [service, new Set()]));

/** It asks one thing after another, and always the same: here all of it is asked at once when the first is. */
function inOneFlight(stores: Readonly<Record<ServiceName, Store>>, now: Date): ReadOf {
  const answers = new Map<string, Promise<pg.QueryResultRow[]>>();
  const ask = (service: ServiceName, text: string) => {
    const answer = answers.get(service + text) ?? stores[service].read(text, now);
    answers.set(service + text, answer);
    return answer;
  };
  for (const [service, texts] of asked) for (const text of texts) void ask(service, text);
  return <Row extends pg.QueryResultRow>(service: ServiceName, text: string) => {
    asked.get(service)?.add(text);
    return ask(service, text) as Promise<Row[]>;
  };
}

async function gather(read: ReadOf, stream: ReadonlySet<string>): Promise<Facts> {
  const [orders, outboxBefore, effects, outboxAfter] = await Promise.all([
    readOrders(read),
    readOutboxes(read),
    readEffects(read),
    readOutboxIds(read),
  ]);
  const log = 'the simulation runs no coordinator';
  const branches = await readBranches(() => async () => [], log);
  const trail = 'the simulation keeps no events';
  const twoPhase = { log, branches, prepared: [] };
  return {
    orders,
    outboxBefore,
    ...effects,
    outboxAfter,
    stream: new Set(stream),
    speaksOf: new Map(),
    trail,
    twoPhase,
  };
}

export const describeViolation = ({ rule, orderId, detail }: Violation): string =>
  `${rule} violated${orderId ? ` by ${nameOf(orderId)}` : ''}: ${detail}`;
