/** A running lab, as whoever launched it holds it in his hand; others reach the same by its socket (control/). */
import type { Healed, Link, LinkMode, Part } from '#libs/contracts/parts.ts';
import { LabError } from './errors.ts';
import type { Parts } from './parts.ts';
import { near } from './suggest.ts';
import type { Supervisor } from './supervisor.ts';
import { linksPart } from './topology.ts';

export type Lab = {
  url: string;
  /** Of every gateway, the public one first. */
  urls: readonly string[];
  home: string;
  databases: Record<string, { url: string; auditUrl: string }>;
  nats: { url: string; monitorUrl: string };
  /** Where traces can be read, when a Jaeger was found. */
  jaegerUrl: string | null;
  parts: readonly string[];
  /** Resolves when that process has gone. It is started again, unless `hold` says to leave it down. */
  kill(part: string, signal?: NodeJS.Signals, options?: { hold?: boolean }): Promise<void>;
  /** SIGSTOP and SIGCONT of the process and, for a database, of all its backends. */
  pause(part: string): Promise<void>;
  resume(part: string): Promise<void>;
  /** Stops it in good order and leaves it down until `start`. */
  stop(part: string): Promise<void>;
  /** Resolves when it is ready. */
  start(part: string): Promise<void>;
  restart(part: string): Promise<void>;
  /** Resolves when every part that is not held down is ready; bounded. */
  ready(): Promise<void>;
  /** Every part as it is now, or one. */
  states(part?: string): Promise<Part[]>;
  /** The links of a lab that was launched with `proxies`; else none. */
  links(): Promise<Link[]>;
  /** Of one link, or of several: either name may be `all`. */
  link(client: string, server: string, mode: LinkMode): Promise<Link[]>;
  /** Resumes what stands still, lets all links pass, starts what is held down, and waits until all are ready. */
  heal(): Promise<Healed>;
  close(): Promise<void>;
};

/** Kinds in the order of their start; they are stopped in the opposite order. */
export const startOrder = [['database', 'nats', 'links', 'jaeger'], ['service']] as const;

export function labOf(
  home: string,
  parts: Parts,
  supervisors: readonly Supervisor[],
  close: () => Promise<void>,
): Lab {
  const names = supervisors.map(({ spec }) => spec.name);
  const part = (name: string): Supervisor => {
    const found = supervisors.find(({ spec }) => spec.name === name);
    if (found !== undefined) return found;
    throw new LabError('part-unknown', unknownPart(name, names));
  };
  const start = async (name: string): Promise<void> => {
    await part(name).start();
    // Its data may have been taken away or put back meanwhile.
    await parts.ensure(name);
  };
  const lab: Lab = {
    url: parts.url,
    urls: parts.urls,
    home,
    databases: parts.databases,
    nats: parts.nats,
    jaegerUrl: parts.jaegerUrl,
    parts: names,
    kill: async (name, signal = 'SIGKILL', { hold = false } = {}) => part(name).kill(signal, hold),
    pause: async (name) => part(name).pause(),
    resume: async (name) => part(name).resume(),
    stop: async (name) => part(name).stop(),
    start: async (name) => start(name),
    restart: async (name) => {
      await part(name).stop();
      await start(name);
    },
    ready: async () => {
      const needed = supervisors.filter(({ isWanted, spec }) => isWanted && spec.kind !== 'jaeger');
      await Promise.all(needed.map((each) => each.ready()));
    },
    states: async (name) => Promise.all((name === undefined ? supervisors : [part(name)]).map(stateOf)),
    links: async () => parts.links?.list() ?? [],
    link: async (client, server, mode) => {
      if (!parts.links) {
        throw new LabError('links-off', 'This lab has no links. Start it with: npx lab up --proxies');
      }
      const changed = await parts.links.set(client, server, mode);
      if (changed.length > 0) return changed;
      throw new LabError('link-unknown', unknownLink(client, server, await parts.links.list()));
    },
    heal: async () => {
      const paused = supervisors.filter(({ isPaused }) => isPaused);
      for (const each of paused) each.resume();
      const held = supervisors.filter(({ isWanted, spec }) => !isWanted && spec.kind !== 'jaeger');
      // Before what is started, which may need them. Links that are down themselves begin anew, and pass.
      const areLinksUp = parts.links !== undefined && !held.some(({ spec }) => spec.kind === 'links');
      if (areLinksUp) await part(linksPart).ready();
      const links = (areLinksUp ? await lab.links() : []).filter(({ mode }) => mode.mode !== 'pass');
      for (const { client, server } of links) await lab.link(client, server, { mode: 'pass' });
      for (const kinds of startOrder) {
        const wave = held.filter(({ spec }) => (kinds as readonly string[]).includes(spec.kind));
        await Promise.all(wave.map(({ spec }) => start(spec.name)));
      }
      await lab.ready();
      return {
        resumed: paused.map(({ spec }) => spec.name),
        started: held.map(({ spec }) => spec.name),
        links: links.map(({ client, server }) => `${client} to ${server}`),
      };
    },
    close,
  };
  return lab;
}

async function stateOf(supervisor: Supervisor): Promise<Part> {
  const { spec, identity, isPaused, isWanted } = supervisor;
  const alive = async () => ((await spec.isReady()) ? 'ready' : 'not ready');
  const state = identity === undefined ? 'down' : isPaused ? 'paused' : await alive();
  const { name, kind, port } = spec;
  return { name, kind, state, held: !isWanted, port, pid: identity?.pid ?? null };
}

export function unknownPart(name: string, known: readonly string[]): string {
  const meant = near(name, known);
  const hint = meant.length > 0 ? `Did you mean ${meant.join(' or ')}? ` : '';
  return `There is no part '${name}'. ${hint}The parts are: ${known.join(', ')}`;
}

export function unknownLink(client: string, server: string, links: readonly Link[]): string {
  const servers = links.filter((link) => link.client === client).map((link) => link.server);
  if (servers.length > 0) return `${client} has no link to '${server}', but to: ${servers.join(', ')}`;
  const clients = [...new Set(links.map((link) => link.client))];
  const meant = near(client, clients);
  const hint = meant.length > 0 ? `Did you mean ${meant.join(' or ')}? ` : '';
  return `No link begins at '${client}'. ${hint}They begin at: ${clients.join(', ')}`;
}
