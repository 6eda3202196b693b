/** What a service knows of its failures, in memory that outlives its crashes; the real one is SQL (libs/step/failures.ts). */
import { attemptsMax, type Failures, type Known } from '#libs/step/failures.ts';

export function rememberFailures(): Failures {
  const known = new Map<string, Known>();
  const those = (fingerprints: readonly string[]) =>
    new Map(
      fingerprints.flatMap((fingerprint) => {
        const one = known.get(fingerprint);
        return one ? [[fingerprint, one] as const] : [];
      }),
    );
  return {
    async noteBefore(tried) {
      for (const { fingerprint, attempts } of tried) {
        const before = known.get(fingerprint)?.attempts ?? 0;
        known.set(fingerprint, { fingerprint, state: 'retrying', attempts: Math.max(before + 1, attempts) });
      }
    },
    async note(failed) {
      for (const { fingerprint, direction, final, attempts } of failed) {
        const before = known.get(fingerprint)?.attempts ?? 0;
        const tried = Math.max(before + 1, attempts);
        const isOpen = final || (direction === 'do' && before > 0 && tried >= attemptsMax);
        known.set(fingerprint, { fingerprint, state: isOpen ? 'open' : 'retrying', attempts: tried });
      }
      return those(failed.map(({ fingerprint }) => fingerprint));
    },
    recall: async (fingerprints) => those(fingerprints),
    async forget(fingerprints) {
      for (const fingerprint of fingerprints) {
        if (known.get(fingerprint)?.state === 'retrying') known.delete(fingerprint);
      }
    },
    outlived: new Set(),
  };
}
