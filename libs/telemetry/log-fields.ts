/** Puts the active span's ids on every log line, so that a line leads to its trace. */
import { trace } from '@opentelemetry/api';

export function traceFields(): { trace_id?: string; span_id?: string } {
  const active = trace.getActiveSpan()?.spanContext();
  return active ? { trace_id: active.traceId, span_id: active.spanId } : {};
}
