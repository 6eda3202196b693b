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
  type SpanOptions,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { EventType, ServiceName } from '#libs/contracts/events.ts';
import type { Reaction } from '#libs/step/reaction.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import { type Origin, readOrigin, writeOrigin } from './origin.ts';
import { formatTraceparent, parseTraceparent } from './trace-context.ts';

/** What an event takes along of its trace. */
export type EventTrace = { traceparent: string; tracestate?: string };

export type BatchTrace = {
  /** Runs the transaction so that its database spans have a parent. */
  within<T>(work: () => Promise<T>): Promise<T>;
  /** The context that an event is sent with. */
  traceFor(intent: Intent, type: EventType): EventTrace;
  /** A fault that was injected between its writes and its publication. */
  struck(intent: Intent, fault: string): void;
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
  traceFor: ({ cause: { traceparent } }) => ({ traceparent }),
  struck: () => {},
  committed: () => {},
  published: () => {},
  discarded: () => {},
  failed: () => {},
};

export const traceNothing: TraceBatch = () => untraced;

const tracer = trace.getTracer('saga-lab');
const twoPhase = /-branch$|:branch$/;

/** `startedAt` is of the clock that never goes back. */
type Process = { span: Span; origin: Origin; startedAt: number };
/** Ended together with the span that it is below: one is never sent without the other. */
type Send = { process: Process; processEndedAt: number | undefined; span: Span };

export const traceBatch: TraceBatch = (service, intents) => {
  const processes = new Map<Intent, Process>();
  const sends = new Map<Intent, Send>();
  const link: Link[] = [];
  for (const intent of intents) {
    const started = startProcess(service, intent, intents.length, link);
    if (link.length === 0) link.push({ context: started.span.spanContext() });
    processes.set(intent, started);
  }
  const first = (processes.values().next().value as Process).span;

  const endSends = (finish: (span: Span) => void = () => {}) => {
    for (const { process, processEndedAt, span } of sends.values()) {
      finish(span);
      process.span.end(processEndedAt);
      span.end();
    }
    sends.clear();
  };

  return {
    within: (work) => context.with(trace.setSpan(ROOT_CONTEXT, first), work),
    traceFor(intent, type) {
      const process = processes.get(intent) as Process;
      const span = startSend(process.span, intent.cause.orderId, type);
      sends.set(intent, { process, processEndedAt: undefined, span });
      const traceparent = formatTraceparent(span.spanContext());
      return span.isRecording() ? { traceparent, tracestate: writeOrigin(process.origin) } : { traceparent };
    },
    struck: (intent, fault) => processes.get(intent)?.span.setAttribute('saga.fault', fault),
    committed(verdicts) {
      for (const { intent, standing, outcome } of verdicts) {
        const span = processes.get(intent)?.span;
        span?.setAttribute('saga.outcome', standing === 'applied' ? (outcome?.outcome ?? 'done') : standing);
        if (standing === 'repeat') span?.setAttribute('saga.repeat', true);
        if (outcome?.outcome === 'refused') span?.setAttribute('saga.reason', outcome.reason);
        const send = sends.get(intent);
        if (send) send.processEndedAt = endOf(send.process);
        else span?.end();
      }
    },
    published: () => endSends(),
    discarded() {
      endSends((span) => span.setStatus({ code: SpanStatusCode.ERROR, message: 'rolled back, not sent' }));
    },
    failed(error) {
      const all = [...[...processes.values()], ...sends.values()];
      for (const { span } of all) {
        if (error instanceof Error) span.recordException(error);
        span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      }
    },
  };
};

export function startSend(process: Span, orderId: string, type: string, startTime?: number): Span {
  const attributes = { ...messaging('send', type), 'messaging.message.conversation_id': orderId };
  const options = { kind: SpanKind.PRODUCER, attributes, ...(startTime ? { startTime } : {}) };
  return tracer.startSpan(`send ${type}`, options, trace.setSpan(ROOT_CONTEXT, process));
}

function startProcess(service: ServiceName, intent: Intent, batchSize: number, links: Link[]): Process {
  const { reaction, cause, attempt, refusal, sabotage } = intent;
  const protocol = twoPhase.test(reaction.on) ? '2pc' : (readOrigin(cause.tracestate)?.protocol ?? 'saga');
  const name = reaction.direction === 'do' ? reaction.step.name : (reaction.step.undoName ?? '');
  const attributes = {
    'messaging.batch.message_count': batchSize,
    ...(refusal || sabotage ? { 'saga.fault': refusal ?? sabotage?.message ?? '' } : {}),
  };
  const did = { on: reaction.on, step: name, orderId: cause.orderId, protocol, attempt } as const;
  const { traceparent } = cause;
  const span = startProcessSpan(service, { ...did, traceparent }, { attributes, links });
  const parent = parseTraceparent(traceparent).spanId;
  const process = span.spanContext().spanId;
  const origin = { protocol, process, parent, attempt, startedMs: Date.now(), on: reaction.on };
  return { span, origin, startedAt: performance.now() };
}

const endOf = ({ origin, startedAt }: Process): number => origin.startedMs + performance.now() - startedAt;

export type Did = {
  on: Reaction['on'];
  step: string;
  orderId: string;
  protocol: Origin['protocol'];
  attempt: number;
  /** Of the span that it goes below. */
  traceparent: string;
};

export function startProcessSpan(service: ServiceName, did: Did, options: SpanOptions): Span {
  const { on, step, orderId, protocol, attempt, traceparent } = did;
  const fromBus = !on.startsWith('request:');
  const attributes = {
    ...(fromBus ? { ...messaging('process', on), 'messaging.consumer.group.name': service } : {}),
    'saga.order_id': orderId,
    'saga.protocol': protocol,
    'saga.step': step,
    'saga.attempt': attempt,
    ...options.attributes,
  };
  const kind = fromBus ? SpanKind.CONSUMER : SpanKind.INTERNAL;
  const parent = trace.setSpanContext(ROOT_CONTEXT, parseTraceparent(traceparent));
  return tracer.startSpan(fromBus ? `process ${on}` : step, { ...options, kind, attributes }, parent);
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
