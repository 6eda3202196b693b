/** docs/fault-points.md: where a fault can be put, what can be done there, and what that shows. */
import { type FaultAction, faultPoints, stepPoints } from '#libs/faults/points.ts';
import { actionOf, flow } from './flow.ts';
import { code, page, table } from './markdown.ts';

const actions: Readonly<Record<FaultAction, string>> = {
  refuse: 'the step says no, as if the business had: nothing is changed, and what was done before is undone',
  error: 'the attempt throws and is rolled back; the message comes again, with a growing pause',
  delay: 'the attempt waits, in milliseconds, and then goes on',
  crash: 'the process kills itself with SIGKILL; the launcher starts it again, and recovery has to cope',
};

export function faultPointsPage(): string {
  return page(
    '# Fault points',
    'A fault is put at a point for all orders in its scope (`npx lab break`, or `PUT /api/faults`), or travels with one order (`"faults":[{"at":"inventory.reserve","do":"refuse"}]` in its body, `npx lab order --fault inventory.reserve=refuse`). The registry is `libs/faults/points.ts`.',
    table(
      ['action', 'what it does'],
      Object.entries(actions).map(([name, does]) => [code(name), does]),
    ),
    table(['point', 'kind', 'actions', 'what the first action shows'], Object.entries(faultPoints).map(row)),
    [
      '```sh',
      'npx lab break payment.refund --do error --hits 3',
      'npx lab order --fault logistics.assign=refuse --timeline',
      'npx lab heal',
      '```',
    ].join('\n'),
  );
}

function row([at, point]: [string, (typeof faultPoints)[string]]): string[] {
  const isUndo = flow.some((each) => each.direction === 'undo' && actionOf(each) === at);
  const kind = at in stepPoints ? (isUndo ? 'undo' : 'step') : 'two-phase';
  return [code(at), kind, point.actions.map(code).join(' '), point.shows];
}
