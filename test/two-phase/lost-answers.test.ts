import { afterAll, describe, expect, test } from 'vitest';
import { call, get, somebody } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric } from '../support/service.ts';
import { firedAt, keyed, oneOutcomeOf, placeIn2pc, transactionsOf } from '../support/two-phase.ts';
import { begin } from '../support/two-phase-story.ts';

afterAll(expectInvariants, 120_000);

/** Sets a fault for one order's customer and one hit, and places until it was met: services hear of it by themselves. */
async function withOneHit(fault: { at: string; do: string; ms: number }) {
  const who = somebody();
  const id = fault.at.replaceAll('.', '-');
  const service = fault.at.slice(0, fault.at.indexOf('.'));
  const before = await firedAt(service, fault.at, fault.do);
  const listed = async () => (await get<{ items: { id: string; hits: number }[] }>('/api/faults')).items;
  const scope = { customerId: who.customerId };
  const items = [...(await listed()).map(({ hits, ...rest }) => rest), { ...fault, id, scope, hitsMax: 1 }];
  expect((await call('PUT', '/api/faults', { body: { items } })).status).toBe(200);
  return {
    who,
    hasHit: async () => (await listed()).find((each) => each.id === id)?.hits === 1,
    fired: async () => (await firedAt(service, fault.at, fault.do)) - before,
  };
}

describe.concurrent('F19: When an answer is lost', () => {
  test('of a vote, then the transaction is aborted, and the next attempt commits', async () => {
    const lost = await withOneHit({ at: 'payment.charge.after-prepare', do: 'delay', ms: 8_000 });
    const { customerId, dishId } = lost.who;
    const items = [{ dishId, quantity: 1 }];
    const found = await eventually('the vote is lost', async () => {
      const { key, orderId } = keyed();
      const answer = await placeIn2pc({ customerId, items }, key);
      return (await lost.hasHit()) ? { answer, orderId } : undefined;
    });
    expect(await lost.fired()).toBe(1);
    expect(found.answer.status, found.answer.text).toBe(201);
    expect(await oneOutcomeOf(found.orderId)).toBe('commit');
    const decisions = (await transactionsOf(found.orderId)).map(({ decision }) => decision);
    expect(decisions).toEqual(['abort', 'commit']);
  });

  test.each(['payment.charge', 'logistics.assign'])('of a commit at %s, then it stands', async (step) => {
    const at = `${step}.before-commit-prepared`;
    const service = step.slice(0, step.indexOf('.'));
    const before = await firedAt(service, at, 'delay');
    const recovered = () => metric('coordinator', /^two_phase_recovered_total\{decision="commit"/);
    const recoveredBefore = await recovered();
    const order = await begin({ faults: [{ at, do: 'delay', ms: 5_500 }] });
    const { answer, decision } = await order.over();
    expect([answer.status, decision]).toEqual([201, 'commit']);
    expect(await firedAt(service, at, 'delay')).toBeGreaterThan(before);
    // The coordinator answered its client without this participant, and told it again.
    expect(await recovered()).toBeGreaterThan(recoveredBefore);
  });
});
