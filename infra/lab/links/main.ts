/** The process of the links: all of them in one, apart from the launcher, which has others to look after. */
import type { LinkMode } from '#libs/contracts/parts.ts';
import { serveJson } from '../control/json-socket.ts';
import { type LinkPlan, openLink } from './link.ts';

const plans = JSON.parse(process.env.LINKS ?? '[]') as LinkPlan[];
const links = await Promise.all(plans.map(openLink));

const isMeant = (given: string | undefined, name: string): boolean => given === 'all' || given === name;

// The launcher alone can ask, and has parsed what it passes on.
const close = await serveJson(process.env.LINKS_CONTROL ?? '', async ({ method, path, body }) => {
  const [, client, server] = path;
  const meant = links.filter((link) => {
    const state = link.state();
    return method === 'GET' || (isMeant(client, state.client) && isMeant(server, state.server));
  });
  if (method === 'PUT') for (const link of meant) link.set(body as LinkMode);
  return { status: 200, body: meant.map((link) => link.state()) };
});

process.once('SIGTERM', async () => {
  await Promise.all([close(), ...links.map((link) => link.close())]);
  process.exit(0);
});
