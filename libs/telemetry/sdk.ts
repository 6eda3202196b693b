/**
 * The OpenTelemetry SDK, exporting by OTLP/HTTP. Instrumentations must be registered before the modules that
 * they patch are loaded; pg and http are CommonJS, so require hooks suffice.
 */
import { basename, dirname } from 'node:path';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { NodeSDK } from '@opentelemetry/sdk-node';

const exportTimeoutMs = '2000';
/** Requests with the commands of many orders. */
const manyTraces = /^\/(orders$|two-phase\/|transactions\/)/;
const quietPaths = ['/livez', '/readyz', '/metrics'];

process.env.OTEL_METRICS_EXPORTER ??= 'none';
process.env.OTEL_LOGS_EXPORTER ??= 'none';
process.env.OTEL_EXPORTER_OTLP_PROTOCOL ??= 'http/protobuf';
process.env.OTEL_EXPORTER_OTLP_TIMEOUT ??= exportTimeoutMs;
process.env.OTEL_BSP_EXPORT_TIMEOUT ??= exportTimeoutMs;
process.env.OTEL_BSP_SCHEDULE_DELAY ??= '500';

/** `services/order/main.ts` is `order`, unless the environment says otherwise. */
const folder = basename(dirname(process.argv[1] ?? ''));

const sdk = new NodeSDK({
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

/** Sends what is left. Bounded and never rejects: a collector that is gone must not hold up a stop. */
export async function shutdownTracing(): Promise<void> {
  const bound = new Promise((resolve) => setTimeout(resolve, Number(exportTimeoutMs)).unref());
  await Promise.race([sdk.shutdown().catch(() => {}), bound]);
}
