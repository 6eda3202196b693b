/**
 * docs/faults.md: the text of faults.md beside this file, with tables of the registry in its `{{places}}`. Points
 * that differ in nothing but their name share a row.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FaultAction, type FaultPoint, faultPoints, type PointKind } from '#libs/faults/points.ts';
import { code, notice, table } from './markdown.ts';

const actions: Readonly<Record<FaultAction, string>> = {
  refuse: 'the step says no, as if the business had: nothing is changed, and what was done before is undone',
  error:
    'the attempt throws and is rolled back, and comes again with a growing pause; at an `.http` point: 503',
  delay: 'it waits for `ms` milliseconds (1 to 60,000; 1,000 if nothing is said) and goes on',
  crash: 'the process kills itself with SIGKILL; the launcher, or the container, starts it again',
  hang: 'it stands still until the fault is healed or past its time, or the process is restarted; nothing else ends it',
  duplicate:
    'the messages of the batch that speak of the order are published twice, under ids of their own, so that the broker cannot recognise them',
  'drop-ack':
    'the message is not acknowledged, as if the ack had been lost: the broker delivers it again after the ack wait (10 s)',
};

export function faultsPage(): string {
  const places: Record<string, string> = {
    notice,
    actions: table(
      ['action', 'what it does'],
      Object.entries(actions).map(([name, does]) => [code(name), does]),
    ),
    steps: pointsTable('step', 'undo'),
    saga: pointsTable('saga'),
    branches: pointsTable('branch', 'coordinator'),
    http: pointsTable('http'),
  };
  const text = readFileSync(join(import.meta.dirname, 'faults.md'), 'utf8');
  return text.replaceAll(/\{\{(\w+)\}\}/g, (whole, name) => {
    const part = places[name];
    if (part === undefined) throw new Error(`infra/generate/faults.md asks for ${whole}`);
    return part;
  });
}

function pointsTable(...kinds: readonly PointKind[]): string {
  const rows = Object.entries(faultPoints).filter(([, { kind }]) => kinds.includes(kind));
  const alike = Map.groupBy(rows, ([, point]) => JSON.stringify(point));
  return table(
    ['point', 'actions', 'what the first one shows', 'where to see it'],
    [...alike.values()].map((group) => rowOf(group)),
  );
}

function rowOf(group: readonly [string, FaultPoint][]): string[] {
  const point = group[0]?.[1] as FaultPoint;
  const names = group.map(([at]) => code(at)).join('<br>');
  return [names, point.actions.map(code).join(' '), point.shows, point.look];
}
