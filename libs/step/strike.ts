/** Faults between the steps of two-phase commit: at a branch's prepare and commit, and in the coordinator. */
import type { Items } from '#libs/contracts/orders.ts';
import { crash, type Injector } from '#libs/faults/injector.ts';

type Subject = {
  orderId: string;
  customerId: string;
  items: Items;
  faults?: string | undefined;
  attempt: number;
};

export const dishIdsOf = (items: Items): string => items.map(({ dishId }) => dishId).join(',');

/** Asks for every order of the transaction; costs one property read each while no fault is set. */
export async function crashOrDelay(
  injector: Injector,
  point: string,
  orders: readonly Subject[],
): Promise<void> {
  for (const { orderId, customerId, items, faults, attempt } of orders) {
    const subject = { orderId, customerId, dishIds: '', faults };
    if (!injector.armed(subject)) continue;
    const fault = await injector.strike(point, { ...subject, dishIds: dishIdsOf(items) }, attempt);
    if (fault?.do === 'crash') await crash();
    if (fault?.do === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.ms));
  }
}
