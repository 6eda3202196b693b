/**
 * The OpenTelemetry SDK, exporting by OTLP/HTTP. Instrumentations must be registered before the modules that
 * they patch are loaded; pg and http are CommonJS, so require hooks suffice. The sampler is the environment's
 * (OTEL_TRACES_SAMPLER): without one everything is kept.
 */
import { basename, dirname } from 'node:path';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { RandomIdGenerator } from '@opentelemetry/sdk-trace';
import { takePresetId } from './span-ids.ts';
import { createSpanOutlet } from './span-outlet.ts';

const exportTimeoutMs = '2000';
/** At most: rows of the outbox wait for their spans, and the relay has little patience with rows. */
const exportEveryMs = 500;
const exportBatchMax = 512;
/** About 20 MB, and two seconds at full load. */
const exportQueueMax = 20_000;
/** Requests with the commands of many orders. */
const manyTraces = /^\/(orders$|two-phase\/|transactions\/)/;
const quietPaths = ['/livez', '/readyz', '/metrics'];

process.env.OTEL_METRICS_EXPORTER ??= 'none';
process.env.OTEL_LOGS_EXPORTER ??= 'none';
process.env.OTEL_EXPORTER_OTLP_PROTOCOL ??= 'http/protobuf';
process.env.OTEL_EXPORTER_OTLP_TIMEOUT ??= exportTimeoutMs;

/** `services/order/main.ts` is `order`, unless the environment says otherwise. */
const folder = basename(dirname(process.argv[1] ?? ''));

const outlet = createSpanOutlet({
  exporter:
    process.env.OTEL_EXPORTER_OTLP_PROTOCOL === 'http/json' ? new JsonExporter() : new ProtobufExporter(),
  everyMs: Math.min(Number(process.env.OTEL_BSP_SCHEDULE_DELAY ?? exportEveryMs), exportEveryMs),
  batchMax: Number(process.env.OTEL_BSP_MAX_EXPORT_BATCH_SIZE ?? exportBatchMax),
  queueMax: Number(process.env.OTEL_BSP_MAX_QUEUE_SIZE ?? exportQueueMax),
});
const random = new RandomIdGenerator();

const sdk = new NodeSDK({
  spanProcessors: [outlet],
  idGenerator: {
    generateTraceId: () => random.generateTraceId(),
    generateSpanId: () => takePresetId() ?? random.generateSpanId(),
  },
  serviceName: process.env.OTEL_SERVICE_NAME ?? (folder === 'console' ? 'gateway' : folder),
  instrumentations: [
    new HttpInstrumentation({
      // A handover carries many orders, each with the trace of its own request: it is no trace itself.
      ignoreIncomingRequestHook: (request) =>
        (request.method === 'POST' && manyTraces.test(request.url ?? '')) ||
        quietPaths.some((path) => (request.url ?? '').startsWith(path)),
      // Every order's trace begins where a person came in; what a service asks for itself is no trace.
      requireParentforOutgoingSpans: true,
    }),
    new PgInstrumentation({ requireParentSpan: true, ignoreConnectSpans: true }),
  ],
});
sdk.start();

/** Resolves when every span that has ended by now is with the collector, or is lost; bounded. */
export const spansSent = outlet.sent;

/** Sends what is left. Bounded and never rejects: a collector that is gone must not hold up a stop. */
export async function shutdownTracing(): Promise<void> {
  const bound = new Promise((resolve) => setTimeout(resolve, Number(exportTimeoutMs)).unref());
  await Promise.race([sdk.shutdown().catch(() => {}), bound]);
}
