/** Stops a process in order, once, within a bound. */
import type { Logger } from 'pino';
import { tracingOn } from '#libs/telemetry/tracing-on.ts';

const stopMsMax = 10_000;

export function stopOnSignal(log: Logger, stages: readonly (() => unknown)[]): void {
  let stopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error(`not stopped within ${stopMsMax} ms`);
      process.exit(1);
    }, stopMsMax).unref();
    for (const stage of stages) {
      try {
        await stage();
      } catch (error) {
        log.warn({ err: error }, 'a part did not stop cleanly');
      }
    }
    if (tracingOn) await (await import('#libs/telemetry/sdk.ts')).shutdownTracing();
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}
