import { describe, expect, test } from 'vitest';
import { stepPoints, steps } from '#libs/faults/points.ts';
import { actionOf, type FlowRow, flow } from '../infra/generate/flow.ts';
import {
  doubleRows,
  ends,
  forwardPath,
  pointFlaws,
  uncompensated,
  undoneFrom,
  unheard,
  unreachable,
  withoutDeadline,
  wrongSayers,
} from './support/flow-checks.ts';

const points = Object.keys(stepPoints);

/** Every check of the choreography; the planted graphs below show that each of them bites. */
const flawsOf = (rows: readonly FlowRow[]): string[] => [
  ...unheard(rows),
  ...wrongSayers(rows),
  ...doubleRows(rows),
  ...uncompensated(rows),
  ...withoutDeadline(rows),
  ...pointFlaws(rows, points),
  ...unreachable(rows),
];

describe('The choreography of all services', () => {
  test('is complete', () => {
    expect(flawsOf(flow)).toEqual([]);
  });

  test('is what the fault points say of it: what is undone, asked for, or silent', () => {
    const said = steps.map(({ at, isUndo = false, byRequest = false, isSilent = false }) => {
      return { at, isUndo, byRequest, isSilent };
    });
    const found = steps.map(({ at }) => {
      const rows = flow.filter((row) => actionOf(row) === at);
      return {
        at,
        isUndo: rows.every(({ direction }) => direction === 'undo'),
        byRequest: rows.every(({ on }) => on.startsWith('request:')),
        isSilent: rows.every(({ saysDone }) => saysDone === null),
      };
    });
    expect(said).toEqual(found);
  });

  test('goes forward through every step once', () => {
    expect(forwardPath(flow).map(({ step }) => step)).toEqual([
      'order.place',
      'payment.charge',
      'inventory.reserve',
      'order.confirm',
      'logistics.assign',
      'order.dispatch',
    ]);
  });

  test.each([
    ['payment.failed', ['order.place']],
    ['inventory.failed', ['payment.charge', 'order.place']],
    ['logistics.failed', ['inventory.reserve', 'payment.charge', 'order.place']],
    [
      'order.cancellation.requested',
      ['logistics.assign', 'inventory.reserve', 'payment.charge', 'order.place'],
    ],
  ])('undoes backwards from %s', (event, steps) => {
    expect(undoneFrom(flow, event)).toEqual(steps);
  });

  test('ends with events after which no service says anything', () => {
    const after = flow.filter(({ on }) => (ends as string[]).includes(on));
    expect(after.flatMap(({ saysDone, saysRefused }) => [saysDone, saysRefused])).not.toContainEqual(
      expect.any(String),
    );
  });
});

describe('When the choreography is broken on purpose', () => {
  const without = (service: string, on: string) =>
    flow.filter((row) => row.service !== service || row.on !== on);
  const changed = (service: string, on: string, change: Partial<FlowRow>) =>
    flow.map((row) => (row.service === service && row.on === on ? { ...row, ...change } : row));

  test.each<[string, readonly FlowRow[], string]>([
    [
      'a removed undo',
      without('payment', 'inventory.failed'),
      'after inventory.failed nobody undoes payment.charge',
    ],
    [
      'a removed last undo',
      without('order', 'payment.refunded'),
      'after logistics.failed nobody undoes order.place',
    ],
    [
      'a removed first link of the chain',
      without('logistics', 'order.cancellation.requested'),
      'after order.cancellation.requested nobody undoes logistics.assign',
    ],
    [
      'a step whose cover is not undone',
      changed('order', 'inventory.reserved', { coveredBy: 'order.dispatch' }),
      'after logistics.failed nobody undoes order.confirm',
    ],
    [
      'an event that nobody hears',
      without('inventory', 'payment.completed'),
      'nobody hears payment.completed',
    ],
    [
      'an event that nobody says',
      changed('payment', 'order.placement.requested', { saysRefused: null }),
      'nobody says payment.failed',
    ],
    [
      'a second sayer',
      changed('inventory', 'logistics.failed', { saysDone: 'payment.refunded' }),
      "inventory says payment.refunded, which is payment's",
    ],
    [
      'two rows for one event',
      [...flow, ...flow.filter(({ on }) => on === 'payment.failed')],
      'order on payment.failed stands in two rows',
    ],
    [
      'undos in the wrong order',
      changed('logistics', 'order.cancellation.requested', {
        step: 'payment.charge',
        saysDone: 'inventory.released',
      }),
      'after order.cancellation.requested nobody undoes inventory.reserve',
    ],
    [
      'a deadline that asks for nothing',
      without('order', 'request:deadline'),
      'request:deadline does not ask for the cancellation',
    ],
    [
      'a step without a fault point',
      changed('order', 'inventory.reserved', { step: 'order.konfirm' }),
      'order.konfirm is no fault point',
    ],
    [
      'a fault point without a step',
      changed('order', 'inventory.reserved', { step: 'order.konfirm' }),
      'no step is called order.confirm',
    ],
    [
      'a reaction that nothing leads to',
      without('order', 'request:cancel-order').filter(({ on }) => on !== 'request:deadline'),
      'logistics never hears order.cancellation.requested',
    ],
  ])('then %s is found', (_, rows, flaw) => {
    expect(flawsOf(rows)).toContain(flaw);
  });
});
