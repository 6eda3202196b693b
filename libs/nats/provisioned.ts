/** Waits for what somebody else makes on the broker: a service may start before it is provisioned, or after. */
const withinMs = 60_000;
const pauseMs = 500;

/**
 * Tries until it succeeds. Throws, with what to do, when it has not in time; `onWaiting` hears of the first
 * failure, so that nobody wonders what a service waits for.
 */
export async function provisioned<T>(
  what: string,
  look: () => Promise<T>,
  onWaiting: (error: Error) => void = () => {},
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await look();
    } catch (cause) {
      const error = missing(what, cause);
      if (Date.now() > deadline) throw error;
      if (attempt === 1) onWaiting(error);
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** What a failed look means, for a person. */
export function missing(what: string, cause: unknown): Error {
  const found = cause instanceof Error ? cause.message : String(cause);
  const remedy = 'Provision the broker: node infra/nats/provision.ts';
  return new Error(`${what} cannot be read (${found}). ${remedy}`, { cause });
}
