/**
 * What a storm does, and when: drawn from a seed before it begins, so that the same seed on the same lab is the
 * same storm. What is done to a part or a link ends before anything else is done to it. Of a broker cluster one
 * node is killed, paused or stopped at a time: without a majority the system stops as it must, which shows nothing
 * (TigerBeetle bounds its faults in the same way where it asks for progress). A link lies between one process and
 * one node, and takes no node away from the others: it may be cut while another node is down.
 */
import type { LinkMode } from '#libs/contracts/parts.ts';
import { faultPoints } from '#libs/faults/points.ts';
import { type Random, seeded } from './random.ts';

type FaultAct = {
  kind: 'fault';
  at: string;
  do: (typeof faultPoints)[string]['actions'][number];
  ms: number;
  share: number;
  hitsMax: number;
};
export type PartActs = { kind: 'kill' | 'pause' | 'stop' | 'restart'; part: string };
export type LinkAct = { kind: 'link'; client: string; server: string; mode: LinkMode };

/** `atMs` after the beginning, for `forMs`; what is done at once and heals by itself lasts 0. */
export type Act = { atMs: number; forMs: number } & (PartActs | LinkAct | FaultAct);

export type Stage = {
  /** By kind; what holds the links is none of them. */
  services: readonly string[];
  databases: readonly string[];
  brokers: readonly string[];
  links: readonly { client: string; server: string }[];
};

/** Of the acts; a database takes longest to come back. */
const weights = { fault: 8, kill: 6, link: 6, pause: 4, restart: 2, stop: 2 } as const;
const pauseBetweenMs = { min: 300, max: 3_500 } as const;
const lastsMs = { min: 300, max: 6_000 } as const;
/** Until a part that was killed has surely come back: the next blow is to hit a living one. */
const recoversMs = 8_000;
/** Long enough for what is broken to be noticed and mended while the load still comes. */
const calmAtEndMs = 10_000;

export function planStorm(seed: number, lengthMs: number, stage: Stage): Act[] {
  const random = seeded(seed);
  const busyUntil = new Map<string, number>();
  const acts: Act[] = [];
  const endMs = lengthMs - calmAtEndMs;
  for (let atMs = random.between(500, 2_000); atMs < endMs; ) {
    const act = drawAct(random, atMs, stage);
    const target = targetOf(act, stage);
    const free = act.atMs >= (busyUntil.get(target) ?? 0);
    if (free && act.atMs + act.forMs <= endMs) {
      busyUntil.set(target, act.atMs + act.forMs + recoversMs);
      acts.push(act);
    }
    atMs += random.between(pauseBetweenMs.min, pauseBetweenMs.max);
  }
  return acts;
}

function drawAct(random: Random, atMs: number, stage: Stage): Act {
  const kind = random.weighted(weights);
  const forMs = random.between(lastsMs.min, lastsMs.max);
  if (kind === 'fault') return { atMs, forMs, ...drawFault(random) };
  if (kind === 'link' && stage.links.length > 0) {
    const { client, server } = random.pick(stage.links);
    const mode = drawMode(random, stage.brokers.includes(server) ? 'HPUB' : 'commit');
    return { atMs, forMs: mode.mode === 'reset' ? 0 : forMs, kind, client, server, mode };
  }
  const part = drawPart(random, stage);
  if (kind === 'pause' || kind === 'stop') return { atMs, forMs, kind, part };
  return { atMs, forMs: 0, kind: kind === 'restart' ? kind : 'kill', part };
}

function drawPart(random: Random, { services, databases, brokers }: Stage): string {
  const kinds = { services: 5, databases: databases.length > 0 ? 3 : 0, brokers: brokers.length > 0 ? 2 : 0 };
  return random.pick({ services, databases, brokers }[random.weighted(kinds)]);
}

function drawFault(random: Random): FaultAct {
  const at = random.pick(Object.keys(faultPoints));
  const actions = faultPoints[at]?.actions ?? [];
  const action = random.pick(actions);
  // A crash of its own accord is over at once; the rest is met by some of the orders for a while.
  const hitsMax = action === 'crash' ? random.between(1, 2) : random.between(3, 60);
  const share = random.pick([0.2, 0.5, 1]);
  return { kind: 'fault', at, do: action, ms: random.between(20, 2_000), share, hitsMax };
}

/** `request`: whose answers get lost, a publish to a broker or a COMMIT. */
function drawMode(random: Random, request: string): LinkMode {
  const mode = random.pick([
    'cut',
    'cut-up',
    'cut-down',
    'latency',
    'slow',
    'slice',
    'drop-answers',
    'reset',
  ]);
  switch (mode) {
    case 'latency':
      return {
        mode,
        ms: random.between(5, 400),
        jitterMs: random.between(0, 100),
        seed: random.between(1, 1e6),
      };
    case 'slow':
      return { mode, bytesPerSecond: random.between(2_000, 60_000) };
    case 'slice':
      return { mode, bytes: random.between(1, 64) };
    case 'drop-answers':
      return { mode, after: request, times: random.between(1, 3), end: random.pick(['silence', 'reset']) };
    default:
      return { mode: mode as 'cut' | 'cut-up' | 'cut-down' | 'reset' };
  }
}

/** What must be whole again before it is hit once more. */
function targetOf(act: Act, { brokers }: Stage): string {
  if (act.kind === 'fault') return act.at;
  if (act.kind === 'link') return `${act.client} ${act.server}`;
  return brokers.includes(act.part) ? 'a broker' : act.part;
}

/** `12.3 s  pause payment-db for 2.1 s`, without the time. */
export function actText(act: Act): string {
  const lasting = act.forMs > 0 ? ` for ${(act.forMs / 1_000).toFixed(1)} s` : '';
  if (act.kind === 'link') return `${act.client} to ${act.server}: ${modeText(act.mode)}${lasting}`;
  if (act.kind !== 'fault') return `${act.kind} ${act.part}${lasting}`;
  const who = act.share < 1 ? `, ${act.share * 100} % of the orders` : '';
  return `${act.at}: ${act.do}${act.do === 'delay' ? ` ${act.ms} ms` : ''}${who}, ${act.hitsMax} hits at most${lasting}`;
}

function modeText(mode: LinkMode): string {
  const { mode: name, ...rest } = mode;
  const values = Object.entries(rest)
    .filter(([key]) => key !== 'seed')
    .map(([key, value]) => `${key} ${value}`);
  return [name, ...values].join(', ');
}
