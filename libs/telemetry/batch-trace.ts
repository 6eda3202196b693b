/**
 * Spans of a batch, by the OpenTelemetry messaging conventions: every cause gets its own `process` span in
 * its own order's trace, every event its own `send` span below that. One transaction serves the whole
 * batch, and a span has one parent, so the database spans stand under the first cause; the others link to it.
 */
import {
  context,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { EventType, ServiceName } from '#libs/contracts/events.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import { formatTraceparent, parseTraceparent } from './trace-context.ts';

export type BatchTrace = {
  /** Runs the transaction so that its database spans have a parent. */
  within<T>(work: () => Promise<T>): Promise<T>;
  /** The context that an event is sent with. */
  traceparentFor(intent: Intent, type: EventType): string;
  committed(verdicts: readonly Verdict[]): void;
  published(): void;
  /** Rolled back after all: nothing that was said is sent. */
  discarded(): void;
  failed(error: unknown): void;
};

export type TraceBatch = (service: ServiceName, intents: readonly Intent[]) => BatchTrace;

/** Tracing off: the context that came in goes out, and nothing else happens. */
const untraced: BatchTrace = {
  within: (work) => work(),
  traceparentFor: (intent) => intent.cause.traceparent,
  committed: () => {},
  published: () => {},
  discarded: () => {},
  failed: () => {},
};

export const traceNothing: TraceBatch = () => untraced;

const tracer = trace.getTracer('saga-lab');
const twoPhase = /-branch$|:branch$/;

export const traceBatch: TraceBatch = (service, intents) => {
  const spans = new Map<Intent, Span>();
  const sends: Span[] = [];
  const link: Link[] = [];
  for (const intent of intents) {
    const span = startProcess(service, intent, intents.length, link);
    if (link.length === 0) link.push({ context: span.spanContext() });
    spans.set(intent, span);
  }
  const first = spans.values().next().value as Span;

  return {
    within: (work) => context.with(trace.setSpan(ROOT_CONTEXT, first), work),
    traceparentFor(intent, type) {
      const parent = trace.setSpan(ROOT_CONTEXT, spans.get(intent) as Span);
      const attributes = {
        ...messaging('send', type),
        'messaging.message.conversation_id': intent.cause.orderId,
      };
      const send = tracer.startSpan(`send ${type}`, { kind: SpanKind.PRODUCER, attributes }, parent);
      sends.push(send);
      return formatTraceparent(send.spanContext());
    },
    committed(verdicts) {
      for (const { intent, standing, outcome } of verdicts) {
        const span = spans.get(intent);
        span?.setAttribute('saga.outcome', standing === 'applied' ? (outcome?.outcome ?? 'done') : standing);
        if (outcome?.outcome === 'refused') span?.setAttribute('saga.reason', outcome.reason);
        span?.end();
      }
    },
    published() {
      for (const send of sends) send.end();
    },
    discarded() {
      for (const send of sends) {
        send.setStatus({ code: SpanStatusCode.ERROR, message: 'rolled back, not sent' });
        send.end();
      }
    },
    failed(error) {
      for (const span of [...sends, ...spans.values()]) {
        if (error instanceof Error) span.recordException(error);
        span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      }
    },
  };
};

function startProcess(service: ServiceName, intent: Intent, batchSize: number, links: Link[]): Span {
  const { reaction, cause, attempt, refusal, sabotage } = intent;
  const fromBus = !reaction.on.startsWith('request:');
  const step = reaction.direction === 'do' ? reaction.step.name : (reaction.step.undoName ?? '');
  const attributes = {
    ...(fromBus ? { ...messaging('process', reaction.on), 'messaging.consumer.group.name': service } : {}),
    'messaging.batch.message_count': batchSize,
    'saga.order_id': cause.orderId,
    'saga.protocol': twoPhase.test(reaction.on) ? '2pc' : 'saga',
    'saga.step': step,
    'saga.attempt': attempt,
    ...(refusal || sabotage ? { 'saga.fault': refusal ?? sabotage?.message ?? '' } : {}),
  };
  const kind = fromBus ? SpanKind.CONSUMER : SpanKind.INTERNAL;
  const parent = trace.setSpanContext(ROOT_CONTEXT, parseTraceparent(cause.traceparent));
  return tracer.startSpan(fromBus ? `process ${reaction.on}` : step, { kind, attributes, links }, parent);
}

/** Both names of the system attribute: the newer one is in Development, the older is what backends know. */
function messaging(operation: 'send' | 'process', destination: string) {
  return {
    'messaging.system': 'nats',
    'messaging.system.name': 'nats',
    'messaging.operation.type': operation,
    'messaging.operation.name': operation,
    'messaging.destination.name': destination,
  };
}
