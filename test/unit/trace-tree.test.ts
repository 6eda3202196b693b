/** The tree that `npx lab trace` prints. */
import { expect, test } from 'vitest';
import { type JaegerAnswer, traceSpansOf, traceTree } from '#lab/trace-tree.ts';

type Row = [id: string, parent: string, service: string, name: string, startUs: number, tags?: object];

function answer(rows: Row[]): JaegerAnswer {
  const spans = rows.map(([spanID, parent, processID, operationName, startTime, tags = {}]) => ({
    spanID,
    operationName,
    references: parent === '' ? [] : [{ refType: 'CHILD_OF', spanID: parent }],
    startTime,
    duration: 1_500,
    processID,
    tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
  }));
  const processes = Object.fromEntries(rows.map(([, , service]) => [service, { serviceName: service }]));
  return { data: [{ spans, processes }] };
}

const rows: Row[] = [
  ['1', '', 'gateway', 'POST /api/orders', 1_000, { 'http.response.status_code': 202 }],
  [
    '4',
    '3',
    'payment',
    'process order.placement.requested',
    9_000,
    { 'saga.step': 'payment.charge', 'saga.attempt': 2 },
  ],
  ['3', '2', 'order', 'send order.placement.requested', 4_000, { 'saga.retold': true }],
  ['2', '1', 'order', 'order.place', 3_000, { 'saga.step': 'order.place', 'saga.outcome': 'done' }],
  ['5', '2', 'order', 'INSERT journal', 3_500, { 'db.system.name': 'postgresql' }],
];

test('A trace is a tree in the order of time, with what happened', () => {
  expect(traceTree(traceSpansOf(answer(rows)), { statements: false })).toEqual([
    'span                                     service  at ms  took ms',
    'POST /api/orders                         gateway    0.0      1.5  202',
    '└ order.place                            order      2.0      1.5  done',
    '  └ send order.placement.requested       order      3.0      1.5  told again',
    '    └ process order.placement.requested  payment    8.0      1.5  payment.charge attempt 2',
  ]);
});

test('Statements are shown when they are asked for, and a lost parent always', () => {
  const torn = answer(rows.filter(([id]) => id !== '3'));
  const lines = traceTree(traceSpansOf(torn), { statements: true });
  expect(lines.some((line) => line.includes('INSERT journal'))).toBe(true);
  expect(lines.at(-1)).toMatch(/^\?\? process order\.placement\.requested/);
});
