/** The links as a part of the lab: started before the services, and again when it is killed; then all links pass. */
import { join } from 'node:path';
import type { Link, LinkMode } from '#libs/contracts/parts.ts';
import { askJson } from '../control/json-socket.ts';
import type { PartSpec } from '../supervisor.ts';
import { linksPart, repository } from '../topology.ts';
import { dyingWithLauncher } from '../user.ts';
import type { LinkPlan } from './link.ts';

export type Links = {
  spec: PartSpec;
  list(): Promise<Link[]>;
  /** Of one link, or of several: either name may be `all`. Resolves with what they are now. */
  set(client: string, server: string, mode: LinkMode): Promise<Link[]>;
};

const answersWithinMs = 5_000;
const readyWithinMs = 1_000;

export function linksServer(plans: readonly LinkPlan[], control: string): Links {
  const main = join(repository, 'infra/lab/links/main.ts');
  const node = [process.execPath, main];
  const [command = process.execPath, ...args] = [...dyingWithLauncher('SIGKILL'), ...node];
  const ask = (method: string, path: string[], body?: LinkMode, withinMs = answersWithinMs) =>
    askJson<Link[]>(control, method, ['links', ...path], { body, withinMs });
  return {
    spec: {
      name: linksPart,
      kind: 'links',
      port: plans[0]?.port ?? 0,
      command,
      args,
      env: {
        PATH: process.env.PATH ?? '',
        NODE_COMPILE_CACHE: join(repository, 'node_modules', '.cache', 'saga-lab'),
        LINKS: JSON.stringify(plans),
        LINKS_CONTROL: control,
      },
      cwd: repository,
      stopSignal: 'SIGTERM',
      isReady: () =>
        ask('GET', [], undefined, readyWithinMs).then(
          () => true,
          () => false,
        ),
    },
    list: () => ask('GET', []),
    set: (client, server, mode) => ask('PUT', [client, server], mode),
  };
}
