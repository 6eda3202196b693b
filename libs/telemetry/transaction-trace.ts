/**
 * Spans of a global transaction, in the trace of each of its orders: one for the transaction, below it one for
 * every prepare (with the vote), the decision and every commit. The orders of a group link to the first one's.
 *
 * Participants continue below what asked them, and a coordinator that dies has sent nothing of it. So the id of
 * the transaction's span stands in the decision log, the ids of those that ask follow from it, and recovery
 * makes them again (docs/decisions/0019).
 */
import { type Link, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';
import { withSpanId } from './span-ids.ts';
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
  /** The phase that a participant's steps go below: one for each participant. */
  ask(name: string, participant: ParticipantName): Phase;
  end(attributes?: Attributes, failure?: string): void;
  /** The orders as the decision log keeps them. */
  noted: Traced[];
  /** When all of it is sent, after its end; at once when nothing is traced. */
  sent: Promise<void>;
};

/** An order, the trace that it belongs to, and in it the span of its transaction. */
export type Traced = { orderId: string; traceparent: string; spanId?: string };

const tracer = trace.getTracer('saga-lab');
export const transactionSpan = 'two-phase commit';

export function traceTransaction(
  name: string,
  orders: readonly (Traced & { attempt?: number })[],
  attributes: Attributes,
): TransactionTrace {
  if (!tracingOn) return untraced(orders);
  const links: Link[] = [];
  const parents = new Map<string, Span>();
  for (const { orderId, traceparent, attempt } of orders) {
    const parent = trace.setSpanContext(ROOT_CONTEXT, parseTraceparent(traceparent));
    const own: Attributes = { ...attributes, 'saga.protocol': '2pc', 'saga.order_id': orderId };
    // Orders of a group may have been tried before, each in another one.
    if (attempt !== undefined) own['saga.attempt'] = attempt;
    const span = tracer.startSpan(name, { attributes: own, links }, parent);
    if (links.length === 0) links.push({ context: span.spanContext() });
    parents.set(orderId, span);
  }
  const { promise: sent, resolve: isSent } = Promise.withResolvers<void>();
  const below = (phaseName: string, kind: SpanKind, idOf?: (span: Span) => string): Phase => {
    const spans = new Map(
      [...parents].map(([orderId, span]) => {
        const start = () => tracer.startSpan(phaseName, { kind }, trace.setSpan(ROOT_CONTEXT, span));
        return [orderId, idOf ? withSpanId(idOf(span), start) : start()];
      }),
    );
    return {
      traceparentOf: (orderId) => formatTraceparent((spans.get(orderId) as Span).spanContext()),
      end: (more, failure) => endAll(spans, more, failure),
    };
  };
  return {
    phase: (phaseName, kind = 'inside') =>
      below(phaseName, kind === 'call' ? SpanKind.CLIENT : SpanKind.INTERNAL),
    ask: (phaseName, participant) =>
      below(phaseName, SpanKind.CLIENT, (span) => askIdOf(span.spanContext().spanId, participant)),
    end(more, failure) {
      endAll(parents, more, failure);
      void import('./sdk.ts').then(({ spansSent }) => spansSent()).then(isSent);
    },
    noted: orders.map(({ orderId, traceparent }) => {
      const span = parents.get(orderId);
      return { orderId, traceparent, ...(span?.isRecording() ? { spanId: span.spanContext().spanId } : {}) };
    }),
    sent,
  };
}

/** Of the span that asks a participant: the transaction's with its last digit changed, so that both are known. */
export function askIdOf(spanId: string, participant: ParticipantName): string {
  const last = Number.parseInt(spanId.slice(-1), 16) ^ (participantNames.indexOf(participant) + 1);
  return spanId.slice(0, -1) + last.toString(16);
}

const lost = 'its coordinator died before it could tell; told again by the recovery';

/** The transaction's span and those that asked, of a coordinator that died: what it knew of them is lost. */
export function retraceTransaction(
  orders: readonly Traced[],
  participants: readonly ParticipantName[],
  attributes: Attributes,
  beganAt: Date,
): void {
  if (!tracingOn) return;
  for (const { orderId, traceparent, spanId } of orders) {
    if (spanId === undefined) continue;
    const startTime = beganAt;
    const own = { ...attributes, 'saga.protocol': '2pc', 'saga.order_id': orderId, 'saga.retold': true };
    const parent = trace.setSpanContext(ROOT_CONTEXT, parseTraceparent(traceparent));
    const whole = withSpanId(spanId, () =>
      tracer.startSpan(transactionSpan, { attributes: own, startTime }, parent),
    );
    for (const participant of participants) {
      const known = {
        'two_phase.participant': participant,
        'two_phase.vote': 'unknown',
        'saga.retold': true,
      };
      const options = { kind: SpanKind.CLIENT, attributes: known, startTime };
      const asked = withSpanId(askIdOf(spanId, participant), () =>
        tracer.startSpan(`prepare ${participant}`, options, trace.setSpan(ROOT_CONTEXT, whole)),
      );
      asked.setStatus({ code: SpanStatusCode.ERROR, message: lost });
      asked.end(beganAt);
    }
    whole.setStatus({ code: SpanStatusCode.ERROR, message: lost });
    whole.end();
  }
}

/** Where a recovery goes: below the span of the transaction that it ends, when there is one. */
export function belowTransaction(orders: readonly Traced[]): Traced[] {
  return orders.map(({ orderId, traceparent, spanId }) => {
    if (spanId === undefined) return { orderId, traceparent };
    return { orderId, traceparent: formatTraceparent({ ...parseTraceparent(traceparent), spanId }) };
  });
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
  return {
    phase: () => phase,
    ask: () => phase,
    end: () => {},
    noted: orders.map(({ orderId, traceparent }) => ({ orderId, traceparent })),
    sent: Promise.resolve(),
  };
}
