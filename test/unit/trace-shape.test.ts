/** That the assertions on traces see what is wrong with one: planted, span by span. */
import { describe, expect, test } from 'vitest';
import {
  edgesOf,
  once,
  orphansOf,
  rootsOf,
  type Span,
  sagaEdges,
  servicesOf,
} from '../support/trace-shape.ts';

const span = (spanId: string, parentId: string, over: Partial<Span> = {}): Span => ({
  service: 'order',
  traceId: 't',
  spanId,
  parentId,
  name: spanId,
  attributes: {},
  links: [],
  ...over,
});
const charge = { name: 'process order.placement.requested', attributes: { 'saga.step': 'payment.charge' } };
const whole = [
  span('1', '', { service: 'gateway', name: 'POST /api/orders' }),
  span('2', '1', { name: 'order.place', attributes: { 'saga.step': 'order.place' } }),
  span('3', '2', { name: 'send order.placement.requested' }),
  span('4', '3', { service: 'payment', ...charge }),
  span('5', '4', { service: 'payment', name: 'INSERT journal' }),
];

describe('A trace', () => {
  test('that is whole has one root, no orphan, and the edges of the flow without its statements', () => {
    expect(rootsOf(whole)).toEqual(['gateway: POST /api/orders']);
    expect(orphansOf(whole)).toEqual([]);
    expect(servicesOf(whole)).toEqual(['gateway', 'order', 'payment']);
    const edges = edgesOf(whole);
    expect(edges).toHaveLength(3);
    expect(sagaEdges({})).toEqual(expect.arrayContaining(edges));
  });

  test('in which somebody lost its parent shows the orphan, and lacks its edge', () => {
    const torn = whole.filter(({ spanId }) => spanId !== '3');
    expect(orphansOf(torn)).toEqual(['payment: process order.placement.requested']);
    expect(edgesOf(torn)).toHaveLength(1);
  });

  test('with a second root shows both', () => {
    const second = span('6', '', { service: 'payment', name: 'process payment.completed' });
    expect(rootsOf([...whole, second])).toHaveLength(2);
  });

  test('with an edge that no reaction declares shows it', () => {
    const wrong = [...whole, span('6', '3', { service: 'logistics', ...charge })];
    const declared = new Set(sagaEdges({}));
    expect(edgesOf(wrong).filter((edge) => !declared.has(edge))).toHaveLength(1);
  });

  test('holds a span that was told twice once', () => {
    expect(once([...whole, ...whole])).toHaveLength(whole.length);
  });
});

test('The edges that the reactions declare differ with the story', () => {
  const happy = sagaEdges({});
  const refused = sagaEdges({ refused: 'logistics.assign' });
  const cancelled = sagaEdges({ cancelledBefore: 'logistics.assign' });
  expect(happy).toContain(
    'logistics: send logistics.assigned → order: process logistics.assigned (order.dispatch)',
  );
  expect(refused).toContain(
    'logistics: send logistics.failed → inventory: process logistics.failed (inventory.release)',
  );
  expect(cancelled).toContain('gateway: POST /api/orders → order: order.request-cancellation');
  expect(new Set([happy, refused, cancelled].map(String)).size).toBe(3);
});
