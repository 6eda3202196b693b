/**
 * Makes the spans again that a dead process had started and not sent, for the events that it left unpublished
 * or unmarked: with the ids that the events carry, so that everything that continues from them has its parent.
 * When they ended nobody knows: they end where they are found, and say so.
 */
import { type Span, SpanStatusCode } from '@opentelemetry/api';
import type { SagaEvent, ServiceName } from '#libs/contracts/events.ts';
import type { Reaction } from '#libs/step/reaction.ts';
import { startProcessSpan, startSend } from './batch-trace.ts';
import { readOrigin } from './origin.ts';
import { withSpanId } from './span-ids.ts';
import { parseTraceparent } from './trace-context.ts';

export type Retrace = (body: string) => void;

const lost = 'its process died before it could tell; told again from the outbox';

export const retraceEvents =
  (service: ServiceName, reactions: readonly Reaction[]): Retrace =>
  (body) => {
    for (const event of JSON.parse(body) as SagaEvent[]) retraceEvent(service, reactions, event);
  };

function retraceEvent(service: ServiceName, reactions: readonly Reaction[], event: SagaEvent): void {
  const { type, subject: orderId, traceparent, tracestate } = event;
  const origin = readOrigin(tracestate);
  if (!origin) return;
  const { on, protocol, attempt, startedMs, process: processId, parent } = origin;
  const said = reactions.find(
    (each) => each.on === on && (each.done?.say === type || each.refused?.say === type),
  );
  const isUndo = said?.direction === 'undo';
  const step = (isUndo ? said?.step.undoName : said?.step.name) ?? '';
  const { spanId, traceId, traceFlags } = parseTraceparent(traceparent);
  const above = `00-${traceId}-${parent}-${traceFlags.toString(16).padStart(2, '0')}`;
  const outcome = said?.refused?.say === type ? 'refused' : 'done';
  const attributes = { 'saga.outcome': outcome, 'saga.retold': true };
  const did = { on, step, orderId, protocol, attempt, traceparent: above };
  const process = withSpanId(processId, () =>
    startProcessSpan(service, did, { attributes, startTime: startedMs }),
  );
  const decidedMs = Date.parse(event.time);
  const send = withSpanId(spanId, () => startSend(process, orderId, type, decidedMs));
  send.setAttribute('saga.retold', true);
  endAsLost(process, decidedMs);
  endAsLost(send);
}

/** Of a span that is told by another process than the one that lived it. */
function endAsLost(span: Span, endedMs?: number): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: lost });
  span.end(endedMs);
}
