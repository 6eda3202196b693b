/**
 * The way of ended spans to the exporter. Two things that the SDK's batch processor does not give: a span is
 * never sent before its parent in this process has ended, so that a crash leaves no child without its parent;
 * and `sent` tells when all that has ended is out, so that others can be told only then (docs/decisions/0019).
 */
import type { ReadableSpan, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace';

export type OutletOptions = {
  exporter: SpanExporter;
  everyMs: number;
  batchMax: number;
  /** What is more than this is dropped: a collector that is gone must not fill the memory. */
  queueMax: number;
};

export type SpanOutlet = SpanProcessor & {
  /**
   * Resolves when every span that has ended by now was sent, or could not be. Never rejects, never takes
   * longer than `sentMsMax`, and does not wait at all while the collector is away.
   */
  sent(): Promise<void>;
};

const sentMsMax = 1_000;
/** Spans that nobody ends are a defect; this many of them are no leak yet. */
const openMax = 20_000;
const sampled = 1;

type Round = { promise: Promise<void>; resolve: () => void };

export function createSpanOutlet({ exporter, everyMs, batchMax, queueMax }: OutletOptions): SpanOutlet {
  /** By id: spans that have not ended, each with its ended children. */
  const open = new Map<string, ReadableSpan[]>();
  let queue: ReadableSpan[] = [];
  let round: Round = Promise.withResolvers<void>();
  let sending: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isAway = false;

  const exportChunk = (spans: ReadableSpan[]) =>
    new Promise<void>((resolve) => {
      try {
        exporter.export(spans, ({ code }) => {
          isAway = code !== 0;
          resolve();
        });
      } catch {
        // What cannot be written is lost, as what cannot be sent is: tracing ends nothing.
        isAway = true;
        resolve();
      }
    });

  async function sendAll(): Promise<void> {
    while (queue.length > 0) {
      const spans = queue;
      const { resolve } = round;
      queue = [];
      round = Promise.withResolvers<void>();
      for (let from = 0; from < spans.length; from += batchMax) {
        await exportChunk(spans.slice(from, from + batchMax));
      }
      resolve();
      if (queue.length < batchMax) break;
    }
    sending = undefined;
    if (queue.length > 0) later();
  }

  function send(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    if (queue.length === 0) return sending ?? Promise.resolve();
    sending ??= sendAll();
    return sending;
  }

  function later(): void {
    timer ??= setTimeout(send, everyMs).unref();
  }

  function enqueue(spans: readonly ReadableSpan[]): void {
    for (const span of spans) if (queue.length < queueMax) queue.push(span);
    if (sending) return;
    if (queue.length >= batchMax) void send();
    else later();
  }

  function release(span: ReadableSpan): void {
    const { spanId } = span.spanContext();
    const family = [span, ...(open.get(spanId) ?? [])];
    open.delete(spanId);
    const parent = open.get(span.parentSpanContext?.spanId ?? '');
    if (parent) parent.push(...family);
    else enqueue(family);
  }

  const sent = (): Promise<void> => {
    if (isAway || (queue.length === 0 && !sending)) return Promise.resolve();
    const done = queue.length > 0 ? round.promise : (sending as Promise<void>);
    return Promise.race([done, new Promise<void>((resolve) => setTimeout(resolve, sentMsMax).unref())]);
  };

  async function flush(): Promise<void> {
    while (queue.length > 0 || sending) await send();
  }

  return {
    onStart(span) {
      if (!(span.spanContext().traceFlags & sampled)) return;
      if (open.size >= openMax) {
        const [oldest = '', children = []] = open.entries().next().value ?? [];
        open.delete(oldest);
        enqueue(children);
      }
      open.set(span.spanContext().spanId, []);
    },
    onEnd(span) {
      if (span.spanContext().traceFlags & sampled) release(span);
    },
    sent,
    forceFlush: flush,
    async shutdown() {
      // Their parents will not end any more.
      for (const children of open.values()) enqueue(children);
      open.clear();
      await flush();
      await exporter.shutdown();
    },
  };
}
