/** Where faults strike: at a step, under either protocol; at a branch's prepare and commit; in the coordinator. */
import { dishIdsOf, type Items } from '#libs/contracts/orders.ts';
import { InjectedError, type Injector, type Strike, undergo } from '#libs/faults/injector.ts';
import type { Intent } from './transact.ts';

type Subject = {
  orderId: string;
  customerId: string;
  items: Items;
  faults?: string | undefined;
  attempt: number;
};

/** Asks for every order of the transaction; costs one property read each while no fault is set. */
export async function strikeOrders(
  injector: Injector,
  point: string,
  orders: readonly Subject[],
): Promise<void> {
  for (const { orderId, customerId, items, faults, attempt } of orders) {
    const subject = { orderId, customerId, dishIds: '', faults };
    if (!injector.armed(subject)) continue;
    const fault = await strikeIfCounted(injector, point, { ...subject, dishIds: dishIdsOf(items) }, attempt);
    if (fault?.do === 'error') throw new InjectedError(point);
    await undergo(fault);
  }
}

/** Nothing strikes while the broker is away to count the hit: it must not stand between a work and who waits for it. */
export const strikeIfCounted = (
  injector: Injector,
  ...asked: Parameters<Injector['strike']>
): Promise<Strike | null> => injector.strike(...asked).catch(() => null);

/** At the step itself: what strikes stands in the intent, or has been waited for. */
export async function strikeStep(injector: Injector, intent: Intent): Promise<void> {
  const { reaction, cause, attempt } = intent;
  const at = pointOf(intent);
  const fault = await strikeIfCounted(injector, at, cause, attempt);
  if (fault?.do === 'refuse' && reaction.direction === 'do') intent.refusal = `injected refusal at ${at}`;
  if (fault?.do === 'error') intent.sabotage = new InjectedError(at);
  await undergo(fault);
}

/** The fault point of an intent: the step's name, or its undo's. */
export function pointOf({ reaction }: Pick<Intent, 'reaction'>): string {
  return reaction.direction === 'do' ? reaction.step.name : (reaction.step.undoName ?? reaction.step.name);
}
