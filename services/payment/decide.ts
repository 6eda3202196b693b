import { done, type Outcome, refused } from '#libs/step/step.ts';

export type Charge = { orderId: string; customerId: string; amount: number };

/** Charges in the order they came, each against what the ones before it left. Touches nothing. */
export function decideCharges(
  balances: ReadonlyMap<string, number>,
  charges: readonly Charge[],
): Outcome<{ charged: number }>[] {
  const left = new Map(balances);
  return charges.map(({ customerId, amount }) => {
    const balance = left.get(customerId);
    if (balance === undefined) return refused('unknown customer');
    if (balance < amount) return refused('insufficient funds');
    left.set(customerId, balance - amount);
    return done({ charged: amount });
  });
}
