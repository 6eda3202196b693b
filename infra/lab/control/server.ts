/** What the launcher does for other processes: commands, the gateway, tests. Every act has its own bound. */
import { linkMode, partActBody, partActs } from '#libs/contracts/parts.ts';
import { LabError } from '../errors.ts';
import type { Lab } from '../lab.ts';
import { type Asked, serveJson } from './json-socket.ts';

/** Listens at the address; resolves with how to end it. */
export function serveControl(address: string, lab: Lab): Promise<() => Promise<void>> {
  return serveJson(address, async (asked) => ({ status: 200, body: await answer(asked, lab) }));
}

async function answer({ method, path, body }: Asked, lab: Lab): Promise<unknown> {
  const [what, first = '', second = ''] = path;
  switch (`${method} ${what}`) {
    case 'GET parts':
      return lab.states();
    case 'POST parts':
      await act(lab, first, second, body);
      return (await lab.states(first))[0];
    case 'GET links':
      return lab.links();
    case 'PUT links':
      return lab.link(first, second, parsed(linkMode, body));
    case 'POST heal':
      return lab.heal();
    case 'POST ready':
      return lab.ready().then(() => lab.states());
    default:
      throw new LabError('request-refused', `The launcher does not know ${method} /${path.join('/')}`);
  }
}

async function act(lab: Lab, name: string, wanted: string, body: unknown): Promise<void> {
  const known = partActs.find((each) => each === wanted);
  if (known === undefined) {
    throw new LabError('request-refused', `'${wanted}' is none of ${partActs.join(', ')}`);
  }
  const { hold } = parsed(partActBody, body ?? {});
  if (known === 'kill') await lab.kill(name, 'SIGKILL', { hold });
  else await lab[known](name);
}

type Schema<T> = { safeParse(value: unknown): { success: boolean; data?: T; error?: { message: string } } };

function parsed<T>(schema: Schema<T>, value: unknown): T {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data as T;
  throw new LabError('request-refused', `The launcher was asked for what it cannot read: ${error?.message}`);
}
