import { randomUUID } from 'node:crypto';
import type { FaultAction } from '#libs/faults/points.ts';
import { type LabApi, labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import {
  changeFaults,
  describe,
  type FaultPoint,
  type FaultState,
  type NewFault,
  readFaults,
} from '../faults.ts';
import { table } from '../format.ts';
import { near } from '../suggest.ts';
import { durationMs, share, wholeNumber } from '../values.ts';

export const summary =
  'Puts a fault at a point, for every order in its scope, until it is healed. Without a point: lists them.';
export const positionals = '[point] [action]';
export const options = {
  do: {
    type: 'string',
    value: 'what',
    description: 'the action, when it is not the second argument (default: the first that the point can)',
  },
  ms: { type: 'string', value: 'n', description: 'how long a delay lasts (default: 1000)' },
  customer: { type: 'string', value: 'id', description: 'only orders of this customer' },
  dish: { type: 'string', value: 'id', description: 'only orders with this dish' },
  order: { type: 'string', value: 'id', description: 'only this order' },
  share: { type: 'string', value: 'x', description: 'only this share of the orders, such as 0.1' },
  seed: { type: 'string', value: 'n', description: 'which orders the share picks (default: 1)' },
  hits: {
    type: 'string',
    value: 'n',
    description: 'ends after so many hits (default: a crash after one, all else when it is healed)',
  },
  once: { type: 'boolean', description: 'ends after one hit' },
  for: { type: 'string', value: 'time', description: 'ends after this time, such as 30s' },
  until: { type: 'string', value: 'moment', description: 'ends then, such as 2030-01-31T18:00:00Z' },
  list: { type: 'boolean', description: 'show the faults that are set, with their hits' },
} as const satisfies Options;
export const examples = [
  'npx lab break payment.charge --once',
  'npx lab break payment.refund error --hits 3',
  'npx lab break payment.charge.after-commit-before-publish crash',
  'npx lab break inventory.reserve delay --ms 2000 --share 0.1 --for 30s',
];

const idChars = 8;

type Values = Arguments<typeof options>['values'];

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [at, action, ...more] = positionals;
  if (more.length > 0) throw new UsageError('break wants a fault point and an action');
  if (action !== undefined && values.do !== undefined)
    throw new UsageError('--do is the second argument: give one of them');
  const api = labApi(io.home);
  if (values.list || at === undefined) {
    const state = await readFaults(api);
    io.out(values.list ? listOfFaults(state, values) : listOfPoints(state, values));
    return 0;
  }
  return add(api, at, action === undefined ? values : { ...values, do: action }, io);
}

async function add(api: LabApi, at: string, values: Values, io: Io): Promise<number> {
  const id = randomUUID().slice(0, idChars);
  const until = untilOf(values);
  let shows = '';
  let look = '';
  const faults = await changeFaults(api, ({ points, items }) => {
    const point = pointCalled(at, points);
    const fault = newFault(point, values);
    // The registry tells what the first action of a point shows.
    shows = fault.do === point.actions[0] ? point.shows : 'see docs/faults.md';
    look = point.look;
    return [...items, { ...fault, ...ending(values, fault.do), ...until, id }];
  });
  const fault = faults.find((each) => each.id === id);
  if (values.json) {
    io.out(JSON.stringify(fault));
  } else if (fault) {
    const rows = [
      ['fault', `${fault.id} at ${fault.at}`],
      ['does', describe(fault)],
      ['shows', shows],
      ['look for', look],
      ['end it', `npx lab heal ${fault.id}`],
    ];
    io.out(table(rows, ''));
  }
  return 0;
}

function pointCalled(at: string, points: readonly FaultPoint[]): FaultPoint {
  const point = points.find((each) => each.at === at);
  if (point) return point;
  const names = points.map((each) => each.at);
  const meant = near(at, names);
  const hint = meant.length > 0 ? `Did you mean ${meant.join(' or ')}?` : 'All points: npx lab break';
  throw new UsageError(`No fault point is called '${at}'. ${hint}`);
}

function actionCalled(name: string, { at, actions }: FaultPoint): FaultAction {
  const action = actions.find((each) => each === name);
  if (action) return action;
  const meant = near(name, actions);
  const hint = meant.length > 0 ? ` Did you mean ${meant.join(' or ')}?` : '';
  throw new UsageError(`${at} cannot ${name}, only ${actions.join(' or ')}.${hint}`);
}

function newFault(point: FaultPoint, values: Values): Omit<NewFault, 'id'> {
  const action = values.do === undefined ? point.actions[0] : actionCalled(values.do, point);
  if (action === undefined) throw new UsageError(`${point.at} has no action`);
  if (values.ms !== undefined && action !== 'delay') throw new UsageError('--ms goes with a delay');
  if (values.seed !== undefined && values.share === undefined)
    throw new UsageError('--seed goes with --share');
  return {
    at: point.at,
    do: action,
    ...(values.ms === undefined ? {} : { ms: wholeNumber(values.ms, '--ms', { max: 60_000 }) }),
    scope: {
      ...(values.order === undefined ? {} : { orderId: values.order }),
      ...(values.customer === undefined ? {} : { customerId: values.customer }),
      ...(values.dish === undefined ? {} : { dishId: values.dish }),
      ...(values.share === undefined ? {} : { share: share(values.share, '--share') }),
      ...(values.seed === undefined ? {} : { seed: wholeNumber(values.seed, '--seed', { min: 0 }) }),
    },
  };
}

/** A crash that is met by every new attempt takes the service down until it is healed: nobody means that by leaving it out. */
function ending({ hits, once }: Values, action: FaultAction): Pick<NewFault, 'hitsMax'> {
  if (once && hits !== undefined) throw new UsageError('--once is --hits 1: give one of them');
  if (hits !== undefined) return { hitsMax: wholeNumber(hits, '--hits') };
  return once || action === 'crash' ? { hitsMax: 1 } : {};
}

function untilOf({ for: forText, until }: Values): Pick<NewFault, 'until'> {
  if (forText !== undefined && until !== undefined)
    throw new UsageError('--for and --until both say when it ends: give one of them');
  if (forText !== undefined) {
    return { until: new Date(Date.now() + durationMs(forText, '--for')).toISOString() };
  }
  if (until === undefined) return {};
  const moment = new Date(until);
  if (Number.isNaN(moment.getTime()))
    throw new UsageError(`--until wants a moment such as 2030-01-31T18:00:00Z, not '${until}'`);
  return { until: moment.toISOString() };
}

function listOfPoints({ points }: FaultState, values: Values): string {
  if (values.json) return JSON.stringify({ points });
  return table(
    points.map(({ at, actions, shows }) => [at, actions.join(' '), shows]),
    '',
  );
}

function listOfFaults({ items }: FaultState, values: Values): string {
  if (values.json) return JSON.stringify({ faults: items });
  if (items.length === 0) return 'no fault is set';
  const rows = items.map((fault) => [fault.id, fault.at, String(fault.hits), describe(fault)]);
  return table([['id', 'point', 'hits', 'does'], ...rows], '');
}
