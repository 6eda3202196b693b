/**
 * The lame duck state of a server that is told to stop (Beyer et al., Site Reliability Engineering, ch. 20): it still
 * serves, says on every answer that the connection ends with it, and is no longer ready for whoever asks.
 *
 * Without it a stop closes every idle connection at once, and a request that is on its way there just then is
 * reset: nobody knows whether it was served, so nobody may send it again.
 */
import { setImmediate, setTimeout } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** Longer than our own callers leave a connection idle. What others use less often is hardly used in the moment of its end. */
export const lameDuckMs = 500;
/**
 * How long a caller keeps a connection that it does not use. Until it closes it, it may send on it: below the time that
 * a server which is told to stop goes on, and so never in the moment in which that closes what is idle.
 */
export const idleMsMax = 300;

/** Returns whether the server is one. Its answers carry `Connection: close`, which is what fastify does while closing. */
export function lameDuck(app: FastifyInstance): () => boolean {
  let stopping = false;
  app.addHook('preClose', async () => {
    stopping = true;
    if (!app.server.listening) return;
    await setTimeout(lameDuckMs);
    // Right after a look at all connections: what had come by then is under way, and its connection stays open for it.
    await setImmediate();
  });
  return () => stopping;
}
