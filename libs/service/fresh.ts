/**
 * Reference data in memory, read again when it is older than `freshMsMax`. Whoever it is read from may be away
 * for a moment without taking it away; a first read that fails is tried again by whoever asks next.
 */
export function createFresh<Data>(freshMsMax: number, read: () => Promise<Data>): () => Promise<Data> {
  let current: Promise<Data> | undefined;
  let readAt = 0;
  return () => {
    if (!current || Date.now() - readAt > freshMsMax) {
      const before = current;
      readAt = Date.now();
      current = read().catch((error) => {
        if (before) return before;
        readAt = 0;
        throw error;
      });
    }
    return current;
  };
}
