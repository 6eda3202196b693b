/** The two request headers that change how an order is placed. */
import { Problem } from '#libs/contracts/problems.ts';

const keyCharsMax = 200;
const waitSecondsMax = 30;

/** draft-ietf-httpapi-idempotency-key-header: a quoted string; the bare form that most clients send is fine. */
export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const text = Array.isArray(header) ? header.join(',') : header;
  const key = /^".*"$/.test(text) ? text.slice(1, -1) : text;
  if (key.length > 0 && key.length <= keyCharsMax && /^[\x21-\x7e]+$/.test(key)) return key;
  throw new Problem('invalid-idempotency-key', undefined, {
    errors: [{ field: 'Idempotency-Key', message: `1 to ${keyCharsMax} visible ASCII characters` }],
  });
}

/** `Prefer: wait=5` (RFC 7240), in milliseconds; 0 without it. A preference that does not fit is ignored. */
export function readWaitMs(header: string | string[] | undefined): number {
  const match = /(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])/.exec(String(header ?? ''));
  return Math.min(Number(match?.[1] ?? 0), waitSecondsMax) * 1_000;
}
