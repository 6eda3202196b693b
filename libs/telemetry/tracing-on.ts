/** Whether this process traces: an exporter's endpoint is configured and nobody has switched the SDK off. */
export const tracingOn =
  process.env.OTEL_SDK_DISABLED !== 'true' && process.env.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined;
