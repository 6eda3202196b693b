import { describe, expect, test } from 'vitest';
import { cycleInWords, findCycle, waitsFor } from '#lab/scenarios/waits-for.ts';
import { gidOf, type InDoubtItem, type ParticipantName } from '#libs/contracts/two-phase.ts';

const [a, b, c] = ['a', 'b', 'c'].map(
  (letter) => `${letter.repeat(8)}-0000-7000-8000-${letter.repeat(12)}`,
) as [string, string, string];

type Session = { who: string; behind: string[]; pid?: number };

/** A transaction that stands prepared in a database, and who waits for it there. */
const held = (transactionId: string, service: ParticipantName, waiting: Session[] = []): InDoubtItem => ({
  gid: gidOf(transactionId, service),
  transactionId,
  service,
  orderIds: [],
  preparedAt: '2026-01-01T00:00:00.000Z',
  ageMs: 500,
  locks: [],
  waiting: waiting.map(({ who, behind, pid = 1 }) => ({ who, behind, pid, waitingMs: 300, statement: '' })),
});

const waits = (waiter: string, holder: string, service: ParticipantName): Session => ({
  who: `2pc:${waiter}`,
  behind: [gidOf(holder, service)],
});

describe('A cycle across databases', () => {
  test('is found where each of two holds what the other wants', () => {
    const items = [
      held(a, 'payment', [waits(b, a, 'payment')]),
      held(b, 'inventory', [waits(a, b, 'inventory')]),
    ];
    const cycle = findCycle(waitsFor(items));
    expect(cycle).toEqual([
      { waiter: b, holder: a, service: 'payment', waitingMs: 300 },
      { waiter: a, holder: b, service: 'inventory', waitingMs: 300 },
    ]);
    expect(cycleInWords(cycle ?? [], items)).toEqual([
      `A is 2pc:${b}`,
      `B is 2pc:${a}`,
      'A is prepared in inventory, and waits in payment for B (300 ms)',
      'B is prepared in payment, and waits in inventory for A (300 ms)',
    ]);
  });

  test('is found where one of them queues behind a third', () => {
    const queue = [
      { who: `2pc:${c}`, pid: 7, behind: [gidOf(a, 'payment')] },
      { who: `2pc:${b}`, pid: 8, behind: ['7'] },
    ];
    const items = [held(a, 'payment', queue), held(b, 'inventory', [waits(a, b, 'inventory')])];
    const cycle = findCycle(waitsFor(items));
    expect(new Set(cycle?.map(({ waiter }) => waiter))).toEqual(new Set([a, b]));
    expect(findCycle(waitsFor(items.slice(0, 1)))).toBeUndefined();
  });

  test('is none where all wait for one, or the waiting is no transaction', () => {
    const items = [
      held(a, 'payment', [waits(b, a, 'payment'), waits(c, a, 'payment')]),
      held(b, 'inventory', [{ who: 'inventory', behind: [gidOf(b, 'inventory')] }]),
    ];
    expect(findCycle(waitsFor(items))).toBeUndefined();
  });

  test('is none within one database: PostgreSQL breaks that one itself', () => {
    const items = [
      held(a, 'payment', [waits(b, a, 'payment')]),
      held(b, 'payment', [waits(a, b, 'payment')]),
    ];
    expect(findCycle(waitsFor(items))).toBeUndefined();
  });
});
