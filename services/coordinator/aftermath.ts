/**
 * What is still to be done for transactions that have been answered: aborts to be told, ends to be noted. Nobody
 * waits for it but a stop, for a while; what is not done then is left to recovery, as after a crash.
 */
export type Aftermath = {
  add(work: Promise<unknown>, what: string): void;
  /** Resolves when nothing is left to do, or when the time is over. */
  settled(withinMs: number): Promise<void>;
};

export function createAftermath(onTrouble: (error: unknown, what: string) => void): Aftermath {
  const open = new Set<Promise<void>>();
  return {
    add(work, what) {
      const one = work
        .then(() => {})
        .catch((error) => onTrouble(error, what))
        .finally(() => open.delete(one));
      open.add(one);
    },
    async settled(withinMs) {
      let isOver = false;
      const bound = new Promise<void>((resolve) => {
        setTimeout(resolve, withinMs).unref();
      }).then(() => {
        isOver = true;
      });
      // What is done may leave more to do.
      while (open.size > 0 && !isOver) await Promise.race([Promise.all(open), bound]);
    },
  };
}
