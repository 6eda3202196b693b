/**
 * Whether the log is as young as what the participants did by it. A participant commits only what the log has
 * decided durably, so a branch that is committed somewhere and not in the log proves that the log has lost
 * decisions: it was put back to an older copy. Presumed abort would then be a guess, and wrong for every
 * transaction that was committed elsewhere. So nobody is presumed to have aborted before all participants have
 * testified, and while something is lost nothing that began before that was noticed: it stays in doubt, for an
 * operator (docs/decisions/0025).
 */
import {
  beganAtOf,
  type CommittedBranch,
  type ParticipantName,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { repeat } from '#libs/step/repeat.ts';
import type { DecisionLog } from './decision-log.ts';
import { gathered } from './gathered.ts';
import type { Participants } from './participants.ts';

const everyMs = 1_000;
/** While all is well; otherwise every time. */
const lookEveryTicks = 30;
/** Of 100 transactions each, back from the newest one: as far as something is missing. */
const pagesMax = 1_000;
const [oldestId, newestId] = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];

/** Committed by these, and not in the log. */
export type LostDecision = Omit<CommittedBranch, 'forced'> & { participants: ParticipantName[] };
export type Lost = ReadonlyMap<string, LostDecision>;

/**
 * Asks every participant, and compares. The log is read after the answers, and was written before what they tell:
 * nothing that is under way is taken for lost. Rejects when a participant does not answer, because its silence
 * proves nothing.
 */
export async function hearParticipants(
  { log, participants }: { log: Pick<DecisionLog, 'read'>; participants: Participants },
  of: readonly string[] = [],
  isProof: (branch: CommittedBranch) => boolean = ({ forced }) => !forced,
): Promise<Map<string, LostDecision>> {
  const lost = new Map<string, LostDecision>();
  const hear = async (name: ParticipantName) => {
    let beganBefore = newestId;
    for (let page = 1; page <= pagesMax; page += 1) {
      const asked = page === 1 ? [...of] : [];
      const branches = (await participants[name].committed({ of: asked, beganBefore })).filter(isProof);
      const known = await log.read(branches.map(({ transactionId }) => transactionId));
      // What is decided otherwise is lost to nobody: an operator was wrong, and the checker says so.
      const missing = branches.filter(({ transactionId }) => !known.get(transactionId)?.decision);
      for (const { transactionId, orderIds } of missing) {
        const found = lost.get(transactionId) ?? { transactionId, orderIds: [], participants: [] };
        found.orderIds = [...new Set([...found.orderIds, ...orderIds])];
        found.participants.push(name);
        lost.set(transactionId, found);
      }
      if (missing.length === 0) return;
      const newest = branches.map(({ transactionId }) => transactionId).filter((id) => !asked.includes(id));
      beganBefore = newest.sort()[0] ?? oldestId;
    }
  };
  await Promise.all(participantNames.map(hear));
  return lost;
}

export type Testimony = ReturnType<typeof createTestimony>;

export function createTestimony(options: {
  log: Pick<DecisionLog, 'read'>;
  participants: Participants;
  /** Another number of decisions is lost than before. */
  onLost(lost: Lost): void;
  onTrouble(error: unknown, what: string): void;
}) {
  const { onLost, onTrouble } = options;
  let lost: Lost = new Map();
  let state: 'unheard' | 'heard' | 'silent' = 'unheard';
  let noticedAtMs = 0;

  async function hear(of: readonly string[]): Promise<void> {
    let found: Lost;
    try {
      found = await hearParticipants(options, of);
    } catch (error) {
      // Once, and not every second: a participant that is away is told of by others.
      if (state !== 'silent') onTrouble(error, 'participants are asked again what they have committed');
      state = 'silent';
      throw error;
    }
    state = 'heard';
    const before = lost;
    lost = found;
    if (before.size === 0 && lost.size > 0) noticedAtMs = Date.now();
    if (before.size !== lost.size) onLost(lost);
  }

  const heardAbout = gathered<{ transactionId: string }, void>(async (asked) => {
    await hear(asked.map(({ transactionId }) => transactionId));
    return new Map();
  });

  /** What is younger has its decision, if any, in the log that stands now. */
  const isDoubtful = (transactionId: string): boolean =>
    lost.size > 0 && (lost.has(transactionId) || beganAtOf(transactionId) < noticedAtMs);

  let tick = 0;
  const loop = repeat({
    pauseMs: everyMs,
    onTrouble: () => {}, // Told above, once.
    async work() {
      tick += 1;
      if (state !== 'heard' || lost.size > 0 || tick % lookEveryTicks === 0) await hear([]);
    },
  });

  return {
    /** Whether this transaction, undecided and run by nobody, may be taken for aborted. */
    async allowsAbort(transactionId: string): Promise<boolean> {
      if (isDoubtful(transactionId)) return false;
      try {
        await heardAbout({ transactionId });
      } catch {
        return false;
      }
      return !isDoubtful(transactionId);
    },
    /** In words, for `/readyz`. */
    detail(): string {
      if (lost.size > 0)
        return `older than its participants: ${lost.size} decisions are lost, what is in doubt waits for an operator`;
      return state === 'heard' ? 'up' : 'not compared: a participant does not answer';
    },
    stop: () => loop.stop(),
  };
}
