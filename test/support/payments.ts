/** The payment service's database with three wallets, and what tests say to it and ask of it. */
import { inject } from 'vitest';
import type { Intent } from '#libs/step/transact.ts';
import { payment } from '#services/payment/service.ts';
import { openWorld } from './world.ts';

const items = [{ dishId: 'dosa', quantity: 1 }];

export async function openPayments() {
  const world = await openWorld(inject('adminUrl'), payment);
  return {
    world,
    async reset(): Promise<void> {
      await world.query('truncate journal, outbox, payments, wallets');
      await world.query(`insert into wallets values ('asha', 1000), ('meera', 100), ('ravi', 0)`);
    },
    charge(orderId: string, total = 10, customerId = 'asha', over: Partial<Intent> = {}): Intent {
      const data = { city: 'pune', items, total };
      return world.intent('order.placement.requested', { orderId, customerId, data }, over);
    },
    refund(orderId: string, on = 'inventory.failed', lamport = 5): Intent {
      return world.intent(on, { orderId, lamport, data: { reason: 'sold out' } });
    },
    async balances(): Promise<Record<string, number>> {
      const rows = await world.query<{ customer_id: string; balance: number }>('select * from wallets');
      return Object.fromEntries(rows.map((row) => [row.customer_id, row.balance]));
    },
  };
}

export type Payments = Awaited<ReturnType<typeof openPayments>>;
