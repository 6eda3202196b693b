/** The stories whose traces must read well, told once for every place that spans can be read from. */
import { describe, expect, test } from 'vitest';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { sagaEdges, stepsOf, transactionEdges } from './trace-shape.ts';
import {
  endOf,
  everyone,
  everyoneIn2pc,
  expectTrace,
  place,
  poor,
  type TraceWorld,
  tracedInLog,
  type Wanted,
} from './trace-world.ts';

type World = () => TraceWorld;

const storyMsMax = 40_000;
const all = [...participantNames];
const without = (...names: string[]) => everyone.filter((name) => !names.includes(name));

export function sagaStories(world: World): void {
  describe('The trace of a saga order', { timeout: storyMsMax }, () => {
    test('that is dispatched is one tree, through every service and every step', async () => {
      const { status, orderId } = await place(world());
      expect(status).toBe(201);
      await expectTrace(world(), orderId, { edges: sagaEdges({}), services: everyone });
    });

    /** Nothing reaches who comes after the refusal. */
    const refusals: [string, Wanted, string, string[]][] = [
      ['payment', { customerId: poor }, 'payment.charge', without('inventory', 'logistics')],
      [
        'inventory',
        { items: [{ dishId: 'truffle-thali', quantity: 1 }] },
        'inventory.reserve',
        without('logistics'),
      ],
      ['logistics', { city: 'lonavala' }, 'logistics.assign', everyone],
    ];
    test.each(refusals)(
      'that %s refuses shows who, why, and every undo',
      async (_, wanted, step, services) => {
        const { orderId } = await place(world(), wanted);
        const spans = await expectTrace(world(), orderId, { edges: sagaEdges({ refused: step }), services });
        const refused = spans.filter(({ attributes }) => attributes['saga.outcome'] === 'refused');
        expect(refused.map(({ attributes }) => attributes['saga.step'])).toEqual([step]);
        expect(refused[0]?.attributes['saga.reason']).toBeTruthy();
        expect(refused[0]?.attributes['saga.fault']).toBeUndefined();
      },
    );

    test.each(refusals)(
      'in which %s is made to refuse names the fault',
      async (_, _wanted, step, services) => {
        const { orderId } = await place(world(), { faults: [{ at: step, do: 'refuse' }] });
        const spans = await expectTrace(world(), orderId, { edges: sagaEdges({ refused: step }), services });
        const refused = spans.find(({ attributes }) => attributes['saga.outcome'] === 'refused');
        expect(refused?.attributes).toMatchObject({
          'saga.step': step,
          'saga.reason': `injected refusal at ${step}`,
          'saga.fault': `injected refusal at ${step}`,
        });
      },
    );

    test('that is cancelled on its way keeps the cancellation in its own trace', async () => {
      const step = 'logistics.assign';
      const { orderId } = await place(world(), { faults: [{ at: step, do: 'delay', ms: 2_500 }] }, 'wait=1');
      const url = `${world().lab.url}/api/orders/${orderId}/cancel`;
      const asked = await fetch(url, { method: 'POST' });
      expect(asked.status).toBeLessThan(300);
      expect((await endOf(world(), orderId)).status).toBe('CANCELLED');
      const edges = sagaEdges({ cancelledBefore: step });
      const spans = await expectTrace(world(), orderId, { edges, services: everyone });
      expect(stepsOf(spans)).toEqual(
        expect.arrayContaining(['logistics.unassign empty', 'logistics.assign repeat', 'order.cancel done']),
      );
    });
  });
}

export function transactionStories(world: World): void {
  const committed = { asked: all, told: all, decision: 'commit' } as const;

  describe('The trace of an order of two-phase commit', { timeout: storyMsMax }, () => {
    test('that is committed shows votes, decision and commits, and the steps below the votes', async () => {
      const { status, orderId } = await place(world(), { protocol: '2pc' });
      expect(status).toBe(201);
      const edges = transactionEdges({ ...committed, mode: 'single' });
      const spans = await expectTrace(world(), orderId, { edges, services: everyoneIn2pc });
      const protocols = spans.flatMap(({ attributes }) => attributes['saga.protocol'] ?? []);
      expect([...new Set(protocols)]).toEqual(['2pc']);
      const votes = spans.flatMap(({ attributes }) => attributes['two_phase.vote'] ?? []);
      expect(votes).toEqual(Array(all.length).fill('yes'));
    });

    test('that is refused shows who voted no, and no commit', async () => {
      const { status, orderId } = await place(world(), { protocol: '2pc', customerId: poor });
      expect(status).toBe(409);
      // Payment refused on its own: it has nothing to abort, and inventory was never asked.
      const asked = ['order', 'payment', 'logistics'];
      const told = ['order', 'logistics'];
      const edges = transactionEdges({ asked, told, decision: 'abort', mode: 'single' });
      const services = ['gateway', 'coordinator', ...asked];
      const spans = await expectTrace(world(), orderId, { edges, services });
      const against = spans.find(({ attributes }) => attributes['two_phase.vote'] === 'no');
      expect(against?.name).toBe('prepare payment');
      expect(stepsOf(spans)).toContain('payment.charge refused');
    });

    test('that shares its transaction with others is its own, and as whole as if it were alone', async () => {
      const count = 12;
      const placed = await Promise.all(
        Array.from({ length: count }, () => place(world(), { protocol: '2pc', twoPhase: 'grouped' })),
      );
      const sizes: number[] = [];
      for (const { status, orderId } of placed) {
        expect(status).toBe(201);
        const edges = transactionEdges({ ...committed, mode: 'grouped' });
        const spans = await expectTrace(world(), orderId, { edges, services: everyoneIn2pc });
        const size = spans.find(({ name }) => name === 'two-phase commit')?.attributes[
          'two_phase.group_size'
        ];
        sizes.push(Number(size));
      }
      expect(Math.max(...sizes)).toBeGreaterThan(1);
    });

    const crashes = [
      ['before its decision', 'coordinator.before-decision', 'abort'],
      ['after its decision', 'coordinator.after-decision', 'commit'],
      ['after the first commit', 'coordinator.after-first-commit', 'commit'],
    ] as const;
    test.each(crashes)(
      'whose coordinator is killed %s goes on with the recovery',
      async (_, at, decision) => {
        const { status, orderId } = await place(world(), { protocol: '2pc', faults: [{ at, do: 'crash' }] });
        expect(status).toBe(503);
        const edges = transactionEdges({ asked: all, told: all, decision, mode: 'single', recovered: true });
        const services =
          decision === 'commit' ? everyoneIn2pc : everyoneIn2pc.filter((name) => name !== 'notification');
        const traceId = await tracedInLog(world(), orderId);
        const spans = await expectTrace(world(), orderId, { edges, services, traceId });
        const retold = spans.filter(({ attributes }) => attributes['saga.retold'] === 'true');
        expect(retold.map(({ name }) => name).sort()).toEqual(
          ['two-phase commit', ...all.map((name) => `prepare ${name}`)].sort(),
        );
      },
    );
  });
}
