/** What a coordinator makes of participants that have committed more, or say less, than its log: a real log. */
import { randomUUID, randomUUIDv7 } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type CommittedBranch,
  type CommittedQuestion,
  type ParticipantName,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createDecisionLog, type DecisionLog } from '#services/coordinator/decision-log.ts';
import type { Participants } from '#services/coordinator/participants.ts';
import { createTestimony, hearParticipants, type Testimony } from '#services/coordinator/testimony.ts';
import { eventually } from '../support/eventually.ts';
import { freshDatabase } from '../support/fresh-database.ts';

const pageRows = 100;
let pool: pg.Pool;
let log: DecisionLog;
let testimony: Testimony | undefined;
/** By participant: what it has committed. */
let committed: Record<ParticipantName, CommittedBranch[]>;
let silent: ParticipantName | undefined;
let lost: number[];
/** Of the log: another one when it is put back to an older copy. */
let incarnation: number;

beforeAll(async () => {
  const url = await freshDatabase('testimony');
  pool = createPool(url, { name: 'a test', purpose: 'steps', onError: () => {} });
  await migrate(pool, 'services/coordinator/migrations');
  log = createDecisionLog({ synced: pool, unsynced: pool }, 'a test');
});
afterAll(() => pool.end());
beforeEach(async () => {
  await pool.query('truncate transactions');
  committed = { order: [], payment: [], inventory: [], logistics: [] };
  [silent, lost, incarnation] = [undefined, [], 1];
});
afterEach(() => testimony?.stop());

/** As committedBranches answers it. */
async function answer(name: ParticipantName, { of, beganBefore }: CommittedQuestion) {
  if (name === silent) throw new Error(`${name} is away`);
  const all = committed[name].toSorted((a, b) => (a.transactionId < b.transactionId ? 1 : -1));
  const newest = all.filter(({ transactionId }) => transactionId < beganBefore).slice(0, pageRows);
  const asked = all.filter((one) => of.includes(one.transactionId) && !newest.includes(one));
  return [...newest, ...asked];
}
const participants = Object.fromEntries(
  participantNames.map((name) => [
    name,
    { committed: (question: CommittedQuestion) => answer(name, question) },
  ]),
) as unknown as Participants;

const branch = (transactionId: string, over: Partial<CommittedBranch> = {}): CommittedBranch => ({
  transactionId,
  orderIds: [randomUUID()],
  forced: false,
  ...over,
});

/** Ids of the same millisecond are in no order. */
const aMoment = () => new Promise((resolve) => setTimeout(resolve, 5));

/** In the log, as a coordinator leaves it. */
async function decided(decision: 'commit' | 'abort'): Promise<string> {
  const transactionId = randomUUIDv7();
  const begun = { transactionId, orders: [], beganAt: new Date() };
  await log.decide({ ...begun, participants: participantNames, decision, answers: [] });
  return transactionId;
}

async function hear(): Promise<Testimony> {
  testimony = createTestimony({
    log: { ...log, incarnation: async () => `${incarnation}` },
    participants,
    onLost: (found) => lost.push(found.size),
    onTrouble: () => {},
  });
  const { detail } = testimony;
  await eventually('all are heard', () => !detail().startsWith('not compared') || silent !== undefined);
  return testimony;
}

describe('When the participants have committed what the log says', () => {
  test('then what nobody has decided may be taken for aborted', async () => {
    for (const name of participantNames) committed[name].push(branch(await decided('commit')));
    const { abortableIn, detail } = await hear();
    expect([await abortableIn(randomUUIDv7()), detail(), lost]).toEqual([`${incarnation}`, 'up', []]);
  });

  test('but for a branch that an operator has forced, then that proves nothing', async () => {
    committed.payment.push(branch(randomUUIDv7(), { forced: true }), branch(await decided('abort')));
    const { abortableIn, detail } = await hear();
    expect([await abortableIn(randomUUIDv7()), detail()]).toEqual([`${incarnation}`, 'up']);
  });
});

describe('F20: When one has committed what the log has not decided', () => {
  test('then neither it nor anything that began before is aborted; what begins now may be', async () => {
    const [known, older, begun] = [await decided('commit'), randomUUIDv7(), randomUUIDv7()];
    await log.begin({ transactionId: begun, orders: [], beganAt: new Date() });
    committed.order.push(branch(known), branch(begun));
    const { abortableIn, detail } = await hear();
    expect(detail()).toContain('1 decisions are lost');
    expect([await abortableIn(begun), await abortableIn(older)]).toEqual([undefined, undefined]);
    await aMoment();
    expect(await abortableIn(randomUUIDv7())).toBe(`${incarnation}`);
    await log.decide({
      transactionId: begun,
      orders: [],
      beganAt: new Date(),
      participants: participantNames,
      decision: 'commit',
      answers: [],
    });
    await eventually('the alarm ends', () => lost.join() === '1,0');
    expect(await abortableIn(older)).toBe(`${incarnation}`);
  });

  test('and many have been committed since, then that stays so until the log has it again', async () => {
    const { abortableIn, detail } = await hear();
    const [transactionId, older] = [randomUUIDv7(), randomUUIDv7()];
    await aMoment();
    // More than a page of newer ones.
    const newer = await Promise.all(Array.from({ length: pageRows + 1 }, () => decided('commit')));
    committed.payment.push(branch(transactionId), ...newer.map((id) => branch(id)));
    expect((await hearParticipants({ log, participants })).size).toBe(0);
    expect((await hearParticipants({ log, participants }, { isThorough: true })).size).toBe(1);
    // Nobody has to look at everything again before the log was put back.
    incarnation += 1;
    expect(await abortableIn(older)).toBeUndefined();
    const ticks = 2_500;
    await new Promise((resolve) => setTimeout(resolve, ticks));
    expect([lost, await abortableIn(older)]).toEqual([[1], undefined]);
    expect(detail()).toContain('1 decisions are lost');
    committed.payment[0] = branch(transactionId, { forced: true });
    await eventually('the operator has forced it', () => lost.join() === '1,0');
    expect(await abortableIn(older)).toBe(`${incarnation}`);
  });

  test('many times, then all of them are found, page after page', async () => {
    const many = Array.from({ length: 2 * pageRows + 1 }, () => branch(randomUUIDv7()));
    committed.inventory.push(...many);
    committed.logistics.push(...many);
    const found = await hearParticipants({ log, participants }, { isThorough: true });
    expect(found.size).toBe(many.length);
    expect([...found.values()].every((one) => one.participants.length === 2)).toBe(true);
  });
});

test('When one does not answer, then nothing is presumed until it does', async () => {
  silent = 'logistics';
  const { abortableIn, detail } = await hear();
  expect(await abortableIn(randomUUIDv7())).toBeUndefined();
  await eventually('it is told', () => detail().startsWith('not compared'));
  silent = undefined;
  expect(await abortableIn(randomUUIDv7())).toBe(`${incarnation}`);
  // Everything has been compared with this log: whoever is away now holds up nobody.
  silent = 'logistics';
  expect(await abortableIn(randomUUIDv7())).toBe(`${incarnation}`);
  incarnation += 1;
  expect(await abortableIn(randomUUIDv7())).toBeUndefined();
});
