/** Ids of a simulation: counted, so that the same schedule makes the same ones, and short to call. */
const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** Of UUIDv7's form, as the contracts want it. */
const idOf = (kind: number, count: number) => `${hex(kind, 8)}-0000-7000-8000-${hex(count, 12)}`;

const orderKind = 1;
const otherKind = 2;

export const orderIdOf = (index: number): string => idOf(orderKind, index + 1);

/** Order ids as people call them. */
export const nameOf = (orderId: string): string =>
  orderId.startsWith(hex(orderKind, 8)) ? `order ${Number.parseInt(orderId.slice(-12), 16)}` : orderId;

export function createIds(): () => string {
  let count = 0;
  return () => idOf(otherKind, ++count);
}
