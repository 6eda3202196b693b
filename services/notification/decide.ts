export type Kind = 'confirmed' | 'dispatched' | 'cancelled';

/** What the customer is told. Touches nothing. */
export function decideText(kind: Kind, reason: string): string {
  switch (kind) {
    case 'confirmed':
      return 'Your order is confirmed. We are looking for a courier.';
    case 'dispatched':
      return 'Your order is on its way.';
    case 'cancelled':
      return `Sorry, your order was cancelled (${reason}), refund initiated.`;
  }
}
