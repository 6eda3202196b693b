/**
 * Spans of a global transaction, in the trace of each of its orders: one for the transaction, below it one for
 * every prepare (with the vote), the decision and every commit. The orders of a group link to the first one's.
 */
import { type Link, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { formatTraceparent, parseTraceparent } from './trace-context.ts';
import { tracingOn } from './tracing-on.ts';

type Attributes = Record<string, string | number | boolean>;

export type Phase = {
  /** The context that a participant continues this order in. */
  traceparentOf(orderId: string): string;
  end(attributes?: Attributes, failure?: string): void;
};

export type TransactionTrace = {
  phase(name: string, kind?: 'call' | 'inside'): Phase;
  end(attributes?: Attributes, failure?: string): void;
};

type Traced = { orderId: string; traceparent: string };

const tracer = trace.getTracer('saga-lab');

export function traceTransaction(
  name: string,
  orders: readonly Traced[],
  attributes: Attributes,
): TransactionTrace {
  if (!tracingOn) return untraced(orders);
  const links: Link[] = [];
  const parents = new Map<string, Span>();
  for (const { orderId, traceparent } of orders) {
    const parent = trace.setSpanContext(ROOT_CONTEXT, parseTraceparent(traceparent));
    const own = { ...attributes, 'saga.protocol': '2pc', 'saga.order_id': orderId };
    const span = tracer.startSpan(name, { attributes: own, links }, parent);
    if (links.length === 0) links.push({ context: span.spanContext() });
    parents.set(orderId, span);
  }
  return {
    phase(phaseName, kind = 'inside') {
      const spans = new Map(
        [...parents].map(([orderId, span]) => {
          const options = { kind: kind === 'call' ? SpanKind.CLIENT : SpanKind.INTERNAL };
          return [orderId, tracer.startSpan(phaseName, options, trace.setSpan(ROOT_CONTEXT, span))];
        }),
      );
      return {
        traceparentOf: (orderId) => formatTraceparent((spans.get(orderId) as Span).spanContext()),
        end: (more, failure) => endAll(spans, more, failure),
      };
    },
    end: (more, failure) => endAll(parents, more, failure),
  };
}

function endAll(spans: ReadonlyMap<string, Span>, attributes: Attributes = {}, failure?: string): void {
  for (const span of spans.values()) {
    span.setAttributes(attributes);
    if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
    span.end();
  }
}

function untraced(orders: readonly Traced[]): TransactionTrace {
  const phase: Phase = {
    traceparentOf: (orderId) => orders.find((order) => order.orderId === orderId)?.traceparent ?? '',
    end: () => {},
  };
  return { phase: () => phase, end: () => {} };
}
