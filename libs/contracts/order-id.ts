import { createHash } from 'node:crypto';

/**
 * The order's id under an Idempotency-Key: the same key is the same order, so the journal, which lets an
 * order be placed once, is all the memory that idempotency needs. A UUIDv8 (RFC 9562 §5.8) of SHA-256.
 */
export function orderIdOf(idempotencyKey: string): string {
  const hash = createHash('sha256').update(`saga-lab order ${idempotencyKey}`).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}
