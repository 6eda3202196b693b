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
  transactionsAskedMax,
} from '#libs/contracts/two-phase.ts';
import { repeat } from '#libs/step/repeat.ts';
import type { DecisionLog } from './decision-log.ts';
import type { Participants } from './participants.ts';

const everyMs = 1_000;
/** While all is well, and only for the newest: what a database cannot do to itself is not looked for every second. */
const lookEveryTicks = 30;
/** Of a thousand transactions each. */
const pagesMax = 10_000;
const [oldestId, newestId] = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];

/** Committed by these, and not decided in the log. */
export type LostDecision = Omit<CommittedBranch, 'forced'> & { participants: ParticipantName[] };
export type Lost = ReadonlyMap<string, LostDecision>;
type Log = Pick<DecisionLog, 'undecided' | 'incarnation'>;

export type Question = {
  /** About these in any case. */
  of?: readonly string[];
  /** As far back as participants remember, and not only about the newest. */
  isThorough?: boolean;
  isProof?(branch: CommittedBranch): boolean;
};

/**
 * Asks every participant, and compares. The log is read after the answers, and was written before what they tell:
 * nothing that is under way is taken for lost. Rejects when a participant does not answer, because its silence
 * proves nothing.
 */
export async function hearParticipants(
  { log, participants }: { log: Pick<Log, 'undecided'>; participants: Participants },
  { of = [], isThorough = false, isProof = ({ forced }) => !forced }: Question = {},
): Promise<Map<string, LostDecision>> {
  const lost = new Map<string, LostDecision>();
  const compare = async (name: ParticipantName, branches: readonly CommittedBranch[]) => {
    const proofs = branches.filter(isProof);
    // What is decided otherwise is lost to nobody: an operator was wrong, and the checker says so.
    const undecided = await log.undecided(proofs.map(({ transactionId }) => transactionId));
    for (const { transactionId, orderIds } of proofs) {
      if (!undecided.has(transactionId)) continue;
      const found = lost.get(transactionId) ?? { transactionId, orderIds: [], participants: [] };
      found.orderIds = [...new Set([...found.orderIds, ...orderIds])];
      if (!found.participants.includes(name)) found.participants.push(name);
      lost.set(transactionId, found);
    }
  };
  const hear = async (name: ParticipantName) => {
    const { committed } = participants[name];
    if (of.length > 0) await compare(name, await committed({ of: [...of], beganBefore: oldestId }));
    let beganBefore: string | undefined = newestId;
    for (let page = 1; page <= pagesMax && beganBefore !== undefined; page += 1) {
      const branches: CommittedBranch[] = await committed({ of: [], beganBefore });
      await compare(name, branches);
      beganBefore = isThorough ? branches.map(({ transactionId }) => transactionId).sort()[0] : undefined;
    }
  };
  await Promise.all(participantNames.map(hear));
  return lost;
}

export type Testimony = ReturnType<typeof createTestimony>;

export function createTestimony(options: {
  log: Log;
  participants: Participants;
  /** Another number of decisions is lost than before. */
  onLost(lost: Lost): void;
  onTrouble(error: unknown, what: string): void;
}) {
  const { log, onLost, onTrouble } = options;
  let lost: Lost = new Map();
  let state: 'unheard' | 'heard' | 'silent' = 'unheard';
  let noticedAtMs = 0;
  /** Of the log, when everything was compared. It can have lost something only by being started anew. */
  let heardOf: string | undefined;
  let hearing: Promise<void> | undefined;

  async function compareAll(): Promise<void> {
    const incarnation = await log.incarnation();
    // What is lost stays so until the log has it, or nobody testifies any more, however much is committed since.
    const of = [...lost.keys()].slice(0, transactionsAskedMax);
    const found = await hearParticipants(options, { of, isThorough: incarnation !== heardOf });
    if ((await log.incarnation()) !== incarnation) throw new Error('the decision log was started anew');
    const left = [...lost].filter(([transactionId]) => !of.includes(transactionId));
    const before = lost;
    lost = new Map([...left, ...found]);
    heardOf = incarnation;
    if ([...lost.keys()].some((transactionId) => !before.has(transactionId))) noticedAtMs = Date.now();
    if (before.size !== lost.size) onLost(lost);
  }

  async function hear(): Promise<void> {
    try {
      await compareAll();
      state = 'heard';
    } catch (error) {
      // Once, and not every second: a participant that is away is told of by others.
      if (state !== 'silent') onTrouble(error, 'participants are asked again what they have committed');
      state = 'silent';
      throw error;
    }
  }

  /** One after another: who comes while one is on its way waits for that one. */
  const hearOnce = (): Promise<void> => {
    hearing ??= hear().finally(() => {
      hearing = undefined;
    });
    return hearing;
  };

  /** What is younger has its decision, if any, in the log that stands now. */
  const isDoubtful = (transactionId: string): boolean =>
    lost.size > 0 && (lost.has(transactionId) || beganAtOf(transactionId) < noticedAtMs);

  let tick = 0;
  const loop = repeat({
    pauseMs: everyMs,
    onTrouble: () => {}, // Told above, once.
    async work() {
      tick += 1;
      const isDue = state !== 'heard' || lost.size > 0 || tick % lookEveryTicks === 0;
      if (isDue || (await log.incarnation()) !== heardOf) await hearOnce();
    },
  });

  return {
    /**
     * The incarnation of the log in which this transaction, undecided and run by nobody, may be taken for aborted:
     * what was found out about one log says nothing about an older copy of it. Undefined: nowhere, for now.
     */
    async abortableIn(transactionId: string): Promise<string | undefined> {
      try {
        // Since everything was compared, what is committed anywhere stands in this log.
        if ((await log.incarnation()) !== heardOf) await hearOnce();
        return isDoubtful(transactionId) ? undefined : heardOf;
      } catch {
        return undefined;
      }
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
