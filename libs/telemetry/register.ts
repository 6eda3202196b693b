/**
 * Loaded before everything else (`node --import …/register.ts`). Nothing of the SDK is loaded when tracing
 * is off, so that off costs nothing.
 */
export const tracingOn =
  process.env.OTEL_SDK_DISABLED !== 'true' && process.env.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined;

if (tracingOn) await import('./sdk.ts');
