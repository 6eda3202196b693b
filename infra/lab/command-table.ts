import type { PartAct } from '#libs/contracts/parts.ts';
import type { Command } from './command.ts';

const part = (act: PartAct) => async () => (await import('./commands/parts.ts'))[act];

/** Every command, in the order of the help. The summary stands here so that the help loads no command. */
export const commands: readonly { name: string; summary: string; load: () => Promise<Command> }[] = [
  { name: 'up', summary: 'start everything and stay until Ctrl-C', load: () => import('./commands/up.ts') },
  { name: 'down', summary: 'stop the lab that runs', load: () => import('./commands/down.ts') },
  {
    name: 'status',
    summary: 'show every part and whether it is ready',
    load: () => import('./commands/status.ts'),
  },
  { name: 'order', summary: 'place an order', load: () => import('./commands/order.ts') },
  { name: 'watch', summary: 'follow an order to its end', load: () => import('./commands/watch.ts') },
  {
    name: 'trace',
    summary: "show an order's trace as a tree",
    load: () => import('./commands/trace.ts'),
  },
  { name: 'break', summary: 'put a fault at a point', load: () => import('./commands/break.ts') },
  { name: 'heal', summary: 'end faults', load: () => import('./commands/heal.ts') },
  { name: 'kill', summary: 'kill a part; it is started again', load: part('kill') },
  { name: 'pause', summary: 'let a part stand still', load: part('pause') },
  { name: 'resume', summary: 'let it go on', load: part('resume') },
  { name: 'restart', summary: 'stop a part in good order, and start it again', load: part('restart') },
  { name: 'stop', summary: 'stop a part and leave it down', load: part('stop') },
  { name: 'start', summary: 'start a part that is down', load: part('start') },
  {
    name: 'link',
    summary: 'cut, slow or reset a connection between parts',
    load: () => import('./commands/link.ts'),
  },
  { name: 'links', summary: 'show these connections', load: () => import('./commands/links.ts') },
  { name: 'check', summary: 'check the invariants', load: () => import('./commands/check.ts') },
  {
    name: 'dead-letters',
    summary: 'show, replay or discard what could not be handled',
    load: () => import('./commands/dead-letters.ts'),
  },
  {
    name: 'in-doubt',
    summary: 'show what waits for its decision, or end it',
    load: () => import('./commands/in-doubt.ts'),
  },
  {
    name: 'scenario',
    summary: 'play a story: in-doubt, deadlock',
    load: () => import('./commands/scenario.ts'),
  },
  {
    name: 'storm',
    summary: 'a seeded storm of faults on a lab of its own',
    load: () => import('./commands/storm.ts'),
  },
  { name: 'bench', summary: 'measure speed and cost', load: () => import('./commands/bench.ts') },
  {
    name: 'completion',
    summary: 'complete commands and fault points in a shell',
    load: () => import('./commands/completion.ts'),
  },
];
