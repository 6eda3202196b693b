/** Waiting for something to become true: often asked, and bounded. */
const pollMs = 40;
const eventuallyMsMax = 20_000;

/** Asks until the answer is neither undefined nor false; at the end it tells the last error or answer. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = eventuallyMsMax,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    let last: unknown;
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
