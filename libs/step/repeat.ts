/** Runs `work` again and again, one run at a time, with a pause between. A run that throws is told, no more. */
export function repeat(options: {
  pauseMs: number;
  work(): Promise<void>;
  onTrouble(error: unknown): void;
}): { stop(): Promise<void> } {
  const { pauseMs, work, onTrouble } = options;
  let stopping = false;
  let wake: (() => void) | undefined;

  const loop = async () => {
    while (!stopping) {
      await work().catch(onTrouble);
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, pauseMs);
      });
    }
  };
  const running = loop();

  return {
    /** Waits for the run under way, and for no pause. */
    async stop() {
      stopping = true;
      wake?.();
      await running;
    },
  };
}
