/**
 * A storm: a lab of its own under open-loop load, while a seeded schedule kills, pauses, cuts and breaks its parts.
 * Then everything is healed, and what must be so is looked at. A storm that was not weathered leaves its lab's
 * databases, stream and logs behind, with the schedule, the orders and the timelines of those that went wrong.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Protocol } from '#libs/contracts/orders.ts';
import type { Link } from '#libs/contracts/parts.ts';
import { labApi } from '../api.ts';
import type { Lab } from '../lab.ts';
import { launchLab } from '../launch.ts';
import { databasePart, gatewayName } from '../topology.ts';
import { type Done, doneText, perform } from './act.ts';
import { keepEvidence } from './evidence.ts';
import { type Patience, type Placed, startOpenLoad } from './load.ts';
import { actText, planStorm, type Stage } from './schedule.ts';
import { stubbornly, tried } from './tried.ts';
import { emptyVerdict, judge, type Verdict } from './verdict.ts';

export type StormOptions = {
  seed: number;
  lengthMs: number;
  protocol: Protocol | 'both';
  ordersPerSecond: number;
  replicas: number;
  natsNodes: number;
  /** Wiped at the beginning; removed at the end of a storm that was weathered. */
  home: string;
  gatewayPort: number;
  portBase: number;
  say(line: string): void;
  /** How long the lab may take to become quiet and whole, once it is healed. */
  quietWithinMs?: number;
  /** How long orders that are not answered by then are repeated. */
  patience?: Patience;
  /** For tests: what else happens to the lab, before it is judged. */
  sabotage?(lab: Lab): Promise<void>;
};

export type StormResult = {
  seed: number;
  weathered: boolean;
  orders: readonly Placed[];
  acts: number;
  /** Acts that are known to have bitten. */
  fired: number;
  done: Done[];
  verdict: Verdict;
  /** Where everything was kept; null after a storm that was weathered. */
  evidence: string | null;
};

/** Orders that somebody holds up end while the storm lasts, and those that come after it soon after it. */
const orderDeadlineMs = 10_000;

const resetWithinMs = 30_000;

export async function runStorm(options: StormOptions): Promise<StormResult> {
  const { home } = options;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  const lab = await launchLab({
    home,
    gatewayPort: options.gatewayPort,
    portBase: options.portBase,
    replicas: options.replicas,
    natsNodes: options.natsNodes,
    proxies: true,
    env: { ORDER_DEADLINE_MS: String(orderDeadlineMs) },
  });
  return weather(lab, options);
}

/** On a lab that is up, which it takes down. Whatever goes wrong from here on is told by the verdict. */
export async function weather(lab: Lab, options: StormOptions): Promise<StormResult> {
  const { home, say } = options;
  const found = await stormOn(lab, options);
  const { violations } = found.verdict;
  const keep = () => tried(violations, 'not everything could be kept', () => keepEvidence(lab, found));
  if (violations.length > 0) await keep();
  const before = violations.length;
  await tried(violations, 'the lab could not be stopped', () => lab.close());
  if (violations.length > before) await keep();
  say('the lab is stopped');
  const weathered = violations.length === 0;
  if (weathered) rmSync(home, { recursive: true, force: true });
  return { ...found, weathered, evidence: weathered ? null : home };
}

export type Found = Omit<StormResult, 'weathered' | 'evidence'>;

async function stormOn(lab: Lab, options: StormOptions): Promise<Found> {
  const { seed, lengthMs, say, sabotage } = options;
  const verdict = emptyVerdict();
  const step = <T>(flaw: string, work: () => T | Promise<T>) => tried(verdict.violations, flaw, work);
  const plan = async () => planStorm(seed, lengthMs, await stageOf(lab));
  const acts = (await step('the storm could not be planned', plan)) ?? [];
  const load = startOpenLoad({ ...options, urls: lab.urls });
  const startedAt = performance.now();
  const clock = () => `${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s`;

  const done = await Promise.all(
    acts.map(async (act, index) => {
      await delay(Math.max(0, act.atMs - (performance.now() - startedAt)));
      say(`${clock()}  ${actText(act)}`);
      const one = await perform(lab, act, index);
      say(`${clock()}  … ${doneText(one)}`);
      return one;
    }),
  );
  await delay(Math.max(0, lengthMs - (performance.now() - startedAt)));
  await step('the lab could not be healed', () => lab.heal());
  const reset = () => labApi(lab.home).request('DELETE', '/api/faults');
  await step('the faults could not be ended', () => stubbornly(reset, resetWithinMs));
  say(`${clock()}  healed; ${load.orders.length} orders were placed`);
  await load.stop();
  say(`${clock()}  every order is answered, or given up`);
  await step('the sabotage failed', () => sabotage?.(lab));
  await step('the lab could not be judged', () => judge(lab, load, verdict, options.quietWithinMs));
  say(`${clock()}  judged, ${(verdict.quietAfterMs / 1_000).toFixed(1)} s until all was quiet`);

  return {
    seed,
    orders: load.orders,
    acts: acts.length,
    fired: done.filter(({ fired }) => fired !== null).length,
    done,
    verdict,
  };
}

async function stageOf(lab: Lab): Promise<Stage> {
  const parts = await lab.states();
  const namesOf = (kind: (typeof parts)[number]['kind']) =>
    parts.filter((each) => each.kind === kind).map(({ name }) => name);
  return {
    services: namesOf('service'),
    databases: namesOf('database'),
    brokers: namesOf('nats'),
    links: (await lab.links()).filter(isOfTheFlow).map(({ client, server }) => ({ client, server })),
  };
}

/** Not the auditor's, which nobody uses until the end. */
const isOfTheFlow = ({ client, server }: Link): boolean =>
  !(client.startsWith(gatewayName) && server.endsWith(databasePart('')));
