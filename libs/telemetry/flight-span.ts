/**
 * A flight of statements as one client span, by the database conventions for batches: its name and
 * `db.query.summary` say what flew, never with values. Nothing at all when tracing is off.
 */
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { tracingOn } from './tracing-on.ts';

const tracer = trace.getTracer('saga-lab');
const nothing = () => {};

/** Starts the span below the active one; call what it returns when the flight is over. */
export function startFlightSpan(texts: readonly string[]): (error?: unknown) => void {
  if (!tracingOn || !trace.getSpan(context.active())) return nothing;
  const summary = texts.map(summaryOf).join('; ');
  const span = tracer.startSpan(summary, {
    kind: SpanKind.CLIENT,
    attributes: {
      'db.system.name': 'postgresql',
      'db.query.summary': summary,
      ...(texts.length > 1 ? { 'db.operation.batch.size': texts.length } : {}),
    },
  });
  return (error) => {
    if (error instanceof Error) span.recordException(error);
    if (error) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  };
}

const summaries = new Map<string, string>();

/** `INSERT journal`, `SELECT wallets`: the statement's main verb and table, found once per text. */
function summaryOf(text: string): string {
  // Every gid makes another text: neither a name nor a key for them.
  if (text.startsWith('prepare transaction')) return 'PREPARE TRANSACTION';
  let summary = summaries.get(text);
  if (summary === undefined) {
    const match =
      /\b(insert)\s+into\s+(\w+)|\b(update)\s+(\w+)|\b(delete|select)\b[\s\S]*?\bfrom\s+(\w+)/i.exec(text);
    const [verb, table] = match?.slice(1).filter((part) => part !== undefined) ?? [text];
    summary = [verb?.toUpperCase(), table].filter(Boolean).join(' ');
    summaries.set(text, summary);
  }
  return summary;
}
