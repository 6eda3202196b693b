/** Lanes share a bounded number of connections: each has one for a turn, then goes to the end of the line. */
import { context, ROOT_CONTEXT } from '@opentelemetry/api';

export type Turns<Lane> = {
  ask(lane: Lane): void;
  /** `last`: no connection is left; `crowded`: and somebody wants one. */
  room(): 'ample' | 'last' | 'crowded';
  /** Starts no more, and calls `hurry` again and again until those under way are over. */
  stop(hurry: () => Promise<unknown>): Promise<void>;
};

const hurryEveryMs = 100;

export function createTurns<Lane>(max: number, take: (lane: Lane) => Promise<void>): Turns<Lane> {
  const line: Lane[] = [];
  const underWay = new Set<Promise<void>>();
  let stopping = false;

  const start = () => {
    while (underWay.size < max && line.length > 0 && !stopping) {
      const lane = line.shift() as Lane;
      const turn = begin(lane).finally(() => {
        underWay.delete(turn);
        start();
      });
      underWay.add(turn);
    }
  };

  /** Outside of any order's trace: a lane serves many. */
  const begin = async (lane: Lane) => {
    await Promise.resolve();
    await context.with(ROOT_CONTEXT, () => take(lane));
  };

  return {
    ask(lane) {
      line.push(lane);
      start();
    },
    room: () => (underWay.size < max ? 'ample' : line.length > 0 ? 'crowded' : 'last'),
    async stop(hurry) {
      stopping = true;
      while (underWay.size > 0) {
        await hurry();
        await Promise.race([
          Promise.all(underWay),
          new Promise((resolve) => setTimeout(resolve, hurryEveryMs)),
        ]);
      }
    },
  };
}
