/**
 * Whoever hangs waits here, without a bound, until the fault that holds them is gone: removed, past its time, or
 * the process stops. One that an order carries ends when all faults are reset, since nothing else can name it.
 */
export type Heard = { faultIds: ReadonlySet<string>; revision: number };

type Hanging = { faultId: string | null; since: number; goOn(): void };

export type Hangs = {
  /** Resolves when it is over. `null`: of a fault that an order carries. */
  wait(faultId: string | null, until?: string): Promise<void>;
  /** What is set now. The revision tells a reset from a look at faults that have been none for long. */
  heard(state: Heard): void;
  stop(): void;
};

export function createHangs(): Hangs {
  const hanging = new Set<Hanging>();
  let revision = 0;
  let stopped = false;

  const letGo = (one: Hanging) => {
    hanging.delete(one);
    one.goOn();
  };

  return {
    wait(faultId, until) {
      if (stopped) return Promise.resolve();
      return new Promise((goOn) => {
        const one = { faultId, since: revision, goOn };
        hanging.add(one);
        // A time further away than a timer reaches is as good as none.
        const leftMs = until === undefined ? Number.POSITIVE_INFINITY : Date.parse(until) - Date.now();
        if (leftMs <= timerMsMax) setTimeout(letGo, leftMs, one).unref();
      });
    },
    heard(state) {
      const isReset = ({ since }: Hanging) => state.faultIds.size === 0 && state.revision > since;
      for (const one of hanging) {
        if (one.faultId === null ? isReset(one) : !state.faultIds.has(one.faultId)) letGo(one);
      }
      revision = Math.max(revision, state.revision);
    },
    stop() {
      stopped = true;
      for (const one of hanging) letGo(one);
    },
  };
}

const timerMsMax = 2 ** 31 - 1;
