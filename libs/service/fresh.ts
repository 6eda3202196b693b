/**
 * Reference data in memory, read again when it is older than `freshMsMax`. Whoever it is read from may be away
 * for a moment without taking it away; while nothing has been read, every failure is tried again by whoever asks next.
 */
export function createFresh<Data>(freshMsMax: number, read: () => Promise<Data>): () => Promise<Data> {
  let current: Promise<Data> | undefined;
  let readAtMs = 0;
  return () => {
    if (!current || performance.now() - readAtMs > freshMsMax) {
      const before = current;
      readAtMs = performance.now();
      current = read().catch((error) => {
        if (before) return before;
        current = undefined;
        throw error;
      });
    }
    return current;
  };
}
