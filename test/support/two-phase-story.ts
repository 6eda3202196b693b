/** An order of two-phase commit to which something happens on its way. */

import { expect } from 'vitest';
import type { Decision } from '#libs/contracts/two-phase.ts';
import { call, get, holdings, type OrderRequest, somebody, stepOf } from './api.ts';
import { keyed, oneOutcomeOf, type Placed, placeIn2pc, type TwoPhaseRequest } from './two-phase.ts';

/** An order under way, and everything that must be true of it once it is over. */
export async function begin(over: TwoPhaseRequest) {
  const who = somebody();
  const { key, orderId } = keyed();
  const before = await holdings(who);
  const request = { ...over, customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 2 }] };
  const answered = placeIn2pc(request, key);
  return {
    orderId,
    answered,
    /** Asked again under its key, as a client does that was told nothing. */
    again: () => placeIn2pc(request, key),
    /** The client was told what is the case, and money, portions and word to the customer agree with it. */
    async over(): Promise<{ answer: Placed; decision: Decision }> {
      const answer = await answered;
      const decision = await oneOutcomeOf(orderId);
      assertTold(answer, decision);
      const [after, orders] = [
        await holdings(who),
        await call<OrderRequest>('GET', `/api/orders/${orderId}`),
      ];
      if (decision === 'abort') {
        expect([after, orders.status]).toEqual([before, 404]);
      } else {
        expect(after.stock.reserved).toBe(before.stock.reserved + 2);
        expect(after.balance).toBeLessThan(before.balance);
        expect(orders.body).toMatchObject({ status: 'DISPATCHED', protocol: '2pc' });
        await stepOf(orderId, 'notification.notify-dispatched');
        const told = await get<{ items: object[] }>(`/api/notifications?orderId=${orderId}`);
        expect(told.items).toHaveLength(1);
      }
      return { answer, decision };
    },
  };
}

/** 201 stands, `transaction-aborted` stands for nothing; `service-unavailable` is the honest "unknown". */
export function assertTold({ status, body, text }: Placed, decision: Decision): void {
  const code = status === 201 ? 'dispatched' : body.code;
  const allowed = decision === 'commit' ? ['dispatched'] : ['transaction-aborted'];
  expect([...allowed, 'service-unavailable'], text).toContain(code);
}
