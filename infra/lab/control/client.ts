/** Asks the launcher of the lab that runs in a home: for commands and tests, which are other processes. */
import type { Healed, Link, LinkMode, Part, PartAct } from '#libs/contracts/parts.ts';
import { runningLab } from '../home.ts';
import { askJson } from './json-socket.ts';

export type LabControl = {
  parts(): Promise<Part[]>;
  /** Resolves with the part as it is when it is done: gone after `kill` and `stop`, ready after `start`. */
  act(part: string, act: PartAct, options?: { hold?: boolean }): Promise<Part>;
  links(): Promise<Link[]>;
  link(client: string, server: string, mode: LinkMode): Promise<Link[]>;
  heal(): Promise<Healed>;
  /** Resolves when every part that is not held down is ready. */
  ready(): Promise<Part[]>;
};

/** The longest that the launcher may need: to stop a part, have it ready again, and make the broker's streams. */
const answersWithinMs = 180_000;

/** Throws `not-running` when no lab runs there; each call throws what the launcher threw, or `not-reachable`. */
export function labControl(home: string): LabControl {
  const { control } = runningLab(home);
  const ask = <Body>(method: string, path: string[], body?: unknown) =>
    askJson<Body>(control, method, path, { body, withinMs: answersWithinMs });
  return {
    parts: () => ask('GET', ['parts']),
    act: (part, act, options) => ask('POST', ['parts', part, act], options),
    links: () => ask('GET', ['links']),
    link: (client, server, mode) => ask('PUT', ['links', client, server], mode),
    heal: () => ask('POST', ['heal']),
    ready: () => ask('POST', ['ready']),
  };
}
