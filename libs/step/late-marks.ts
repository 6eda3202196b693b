/**
 * What the broker has stored and then lost, and nobody has marked yet: while a commit takes its time the broker can
 * be back, and the end of the subject be where it was. It is looked for again and again, by the time at which the
 * broker had stored it.
 */
import type { Late, Range } from './forgotten.ts';

/** How long a mark may take: above any statement, and any pause inside a transaction. */
const marksMsMax = 60_000;
const everyMs = 10_000;

/** `taken` is added to by who takes back. */
type LateRange = { range: Range; late: Late & { taken: string[] }; untilMs: number };

export function createLateMarks() {
  let awaited: LateRange[] = [];
  let lookedMs = 0;

  return {
    /** In this range something may be marked that was stored before that time. */
    expect(range: Range, before: Date): void {
      awaited.push({ range, late: { before, taken: [] }, untilMs: performance.now() + marksMsMax });
    },
    /**
     * Takes back what has been marked since the last look, if that is some time ago; gives how much that was.
     * `beganMs`: when this look began, by `performance.now()`.
     */
    async lookAgain(
      beganMs: number,
      takeBack: (range: Range, late: LateRange['late']) => Promise<number>,
    ): Promise<number> {
      if (beganMs - lookedMs <= everyMs) return 0;
      let lost = 0;
      for (const { range, late } of awaited) lost += await takeBack(range, late);
      // By when the look began: the database may have stood still since, with the very commit.
      awaited = awaited.filter(({ untilMs }) => untilMs > beganMs);
      lookedMs = beganMs;
      return lost;
    },
  };
}
