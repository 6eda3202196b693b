/**
 * W3C trace context as a string, which is how it travels (https://www.w3.org/TR/trace-context/). An order
 * has a trace id even when tracing is off: it is what people quote, and it must not depend on the SDK.
 */
import { randomUUID } from 'node:crypto';
import { context, type SpanContext, trace } from '@opentelemetry/api';

/** The context of the active span; without one, a fresh and unsampled context. */
export function currentTraceparent(): string {
  const active = trace.getSpanContext(context.active());
  if (active && trace.isSpanContextValid(active)) return formatTraceparent(active);
  // UUIDs come from a pool of random bytes, which is ten times cheaper than asking for 24 of them.
  const hex = (randomUUID() + randomUUID()).replaceAll('-', '');
  return `00-${hex.slice(0, 32)}-${hex.slice(32, 48)}-00`;
}

export function formatTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** Expects the form that the event schema has checked. */
export function parseTraceparent(traceparent: string): SpanContext {
  const [, traceId = '', spanId = '', flags = '00'] = traceparent.split('-');
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}

export const traceIdOf = (traceparent: string): string => traceparent.slice(3, 35);
