/** The checker's rules of two-phase commit on facts made by hand: what is a violation, and what is only under way. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { rules } from '#libs/checker/rules.ts';
import { gidOf, participantNames } from '#libs/contracts/two-phase.ts';
import { check, live, of, quiet, violatedRules, world } from '../support/checked-world.ts';

const day = 24 * 60 * 60 * 1_000;

describe('When a transaction is committed everywhere', () => {
  test('then nothing is violated', () => {
    const { facts } = world();
    expect(check(facts, quiet)).toEqual([]);
    expect(check(facts, live)).toEqual([]);
  });

  test('then an order that was refused in its group is legal', () => {
    const { facts, order, orderId, log } = world();
    order.status = 'CANCELLED';
    for (const rows of [facts.payments, facts.reservations, facts.assignments]) rows.clear();
    expect(of(facts, 'I8')).toMatchObject([{ orderId, detail: expect.stringContaining('answered as done') }]);
    for (const answer of log.answers) answer.outcome = 'refused';
    expect(check(facts, quiet)).toEqual([]);
  });
});

describe.each(participantNames)('When the commit has not reached %s', (name) => {
  test('then a live check tolerates it while it is under way', () => {
    const { facts, underWay, without, orderId } = world();
    underWay();
    without(name);
    expect(check(facts, { ...live, accepted: [orderId] })).toEqual([]);
  });

  test('then a live check finds it once the commit is due, and every order of it', () => {
    const { facts, orderId, transaction, without } = world();
    const other = randomUUID();
    transaction.orderIds = [orderId, other];
    without(name);
    const detail = expect.stringContaining(`${name}'s branch of transaction ${transaction.transactionId}`);
    expect(of(facts, 'I8', live)).toEqual(
      expect.arrayContaining([
        { id: 'I8', orderId, detail },
        { id: 'I8', orderId: other, detail },
      ]),
    );
    if (name !== 'order') expect(violatedRules(facts, live)).toContain('I3');
  });

  test('then a quiet check finds it, and its effects, although it is under way', () => {
    const { facts, odd, underWay, without } = world();
    underWay();
    without(name);
    const effects = { order: [], payment: ['I1', 'I3'], inventory: ['I2', 'I3'], logistics: ['I3'] }[name];
    expect(violatedRules(facts, quiet).sort()).toEqual([...effects, 'I8']);
    // The order's own database is the one that also owes what the client was told.
    expect(of(facts, 'I8')).toHaveLength(name === 'order' ? 2 : 1);
    odd(name, 'forcing', { orderIds: [] });
    expect(of(facts, 'I8', live)).toEqual([]);
    expect(of(facts, 'I8')[0]?.detail).toContain('an operator was about to force its abort');
  });

  test('then a live check does not wait for a branch that was aborted', () => {
    for (const state of ['barred', 'heuristic-abort']) {
      const { facts, orderId, odd, underWay, without } = world();
      underWay();
      without(name);
      odd(name, state, { orderIds: [] });
      const [violation] = of(facts, 'I8', live);
      expect(violation).toMatchObject({ orderId });
      expect(violation?.detail).toContain(state === 'barred' ? 'is barred' : 'an operator forced the abort');
      if (name !== 'order') expect(violatedRules(facts, live)).toContain('I3');
    }
  });

  test('then effects are missed all the same where its branch is there', () => {
    const { facts, branches, transactionId, underWay, without } = world();
    underWay();
    without(name);
    branches[name].committed.add(transactionId);
    expect(violatedRules(facts, live)).toEqual(
      name === 'order'
        ? []
        : name === 'payment'
          ? ['I1', 'I3']
          : name === 'inventory'
            ? ['I2', 'I3']
            : ['I3'],
    );
  });
});

describe('When a branch is committed without a decision to commit', () => {
  const decisions = [
    { name: 'the log says abort', says: 'says abort' },
    { name: 'the log has not decided', says: 'has not decided' },
    { name: 'the log does not know it', says: 'does not know it' },
  ] as const;

  test.each(decisions)('then it is found when $name', ({ says }) => {
    for (const [state, did] of [
      ['prepared', 'is committed'],
      ['heuristic-commit', 'an operator forced the commit'],
    ] as const) {
      const { facts, orderId, transaction, transactionId, log, odd } = world();
      transaction.decision = says === 'says abort' ? 'abort' : null;
      if (says === 'does not know it') log.transactions.delete(transactionId);
      odd('inventory', state);
      for (const options of [quiet, live]) {
        const found = of(facts, 'I8', options);
        const detail = found.find((violation) => violation.detail.includes("inventory's branch"))?.detail;
        expect(detail).toContain(did);
        expect(detail).toContain(says);
        expect(found.every((violation) => violation.orderId === orderId)).toBe(true);
        expect(found.at(-1)?.detail).toContain('no committed transaction names it');
      }
    }
  });

  test('then what it lacks elsewhere is not called under way', () => {
    const { facts, transaction, odd, underWay, without } = world();
    underWay();
    transaction.decision = null;
    odd('order', 'heuristic-commit');
    without('logistics');
    expect(violatedRules(facts, live)).toEqual(['I3', 'I8']);
  });

  test('then an outcome that an operator forced is no violation when the log says the same', () => {
    const { facts, odd } = world();
    odd('payment', 'heuristic-commit');
    expect(check(facts, quiet)).toEqual([]);
  });

  test('then a forced abort is none either when the log says abort', () => {
    const { facts, transaction, log, odd, without } = world();
    transaction.decision = 'abort';
    log.answers.length = 0;
    for (const name of participantNames) without(name);
    odd('payment', 'heuristic-abort');
    expect(check(facts, quiet)).toEqual([]);
  });
});

describe('When a client was told an outcome', () => {
  test('then the order must stand, by 2PC', () => {
    const { facts, order, orderId } = world();
    order.protocol = 'saga';
    expect(of(facts, 'I8')).toEqual([
      { id: 'I8', orderId, detail: expect.stringContaining('a DISPATCHED order of saga') },
    ]);
  });

  test('then one of a transaction that nobody knows is found at once', () => {
    const { facts, log } = world();
    const orderId = randomUUID();
    const told = { outcome: 'done', bodyHash: null, answer: null } as const;
    log.answers.push({ orderId, transactionId: randomUUID(), ...told });
    expect(of(facts, 'I8', live)).toMatchObject([
      { orderId, detail: expect.stringContaining('is not there') },
    ]);
  });

  test('then an order that was refused must not stand', () => {
    const { facts, log, orderId } = world();
    for (const answer of log.answers) answer.outcome = 'refused';
    expect(of(facts, 'I8', live)).toMatchObject([{ orderId }]);
  });
});

describe('When both log and branches may have been forgotten', () => {
  test('then nothing is missed', () => {
    const { facts, order, transaction, log, odd, without } = world();
    without('payment');
    transaction.decidedAgeMs = day + 1;
    expect(of(facts, 'I8')).toEqual([]);
    log.transactions.clear();
    order.ageMs = day + 1;
    odd('order', 'prepared', { ageMs: day + 1 });
    expect(of(facts, 'I8')).toEqual([]);
  });
});

describe('When there is no log', () => {
  const i8 = rules.find(({ id }) => id === 'I8');

  test('then the rule says so, and that nothing was placed', () => {
    const { facts, branches } = world();
    facts.orders.clear();
    for (const name of participantNames) branches[name].committed.clear();
    facts.twoPhase = { ...facts.twoPhase, log: 'it is not configured' };
    expect(i8?.check(facts, quiet)).toEqual({
      checked: 0,
      violations: [],
      note: expect.stringContaining('not checked: it is not configured'),
    });
  });

  test('then anything that it should vouch for is a violation', () => {
    const { facts } = world();
    facts.twoPhase = { ...facts.twoPhase, log: 'it is not configured' };
    expect(of(facts, 'I8', live)).toHaveLength(1);
    expect(violatedRules(facts, live)).toEqual(['I8']);
  });
});

describe('When something stands prepared', () => {
  const stand = (over: object) => {
    const made = world();
    const gid = gidOf(made.transactionId, 'payment');
    const prepared = [{ service: 'payment', gid, owner: 'payment', ageMs: 29_000, ...over }];
    made.facts.twoPhase = { ...made.facts.twoPhase, prepared };
    return made;
  };

  test('then a live check tolerates it for its limit, and a quiet one never', () => {
    const { facts, orderId } = stand({});
    expect(check(facts, live)).toEqual([]);
    expect(check(facts, quiet)).toMatchObject([{ id: 'I9', orderId }]);
    expect(check(stand({ ageMs: 31_000 }).facts, live)).toMatchObject([{ id: 'I9' }]);
  });

  test("then somebody else's is called that", () => {
    for (const gid of ['2pc:nonsense', 'backup"1']) {
      expect(check(stand({ gid }).facts, quiet)).toMatchObject([
        { id: 'I9', orderId: null, detail: expect.stringContaining('not ours') },
      ]);
    }
  });
});

describe('When a branch stood prepared for long and was committed just now', () => {
  const late = { service: 'order', messageId: 'm', published: false, ageMs: 20_000 } as const;
  const withMessage = (over: { endedAgeMs: number | null; decision?: 'abort' }) => {
    const { facts, orderId, transaction } = world();
    Object.assign(transaction, over);
    facts.outboxBefore.push({ ...late, orderId });
    return facts;
  };

  test('then a live check gives its message time to be published', () => {
    expect(violatedRules(withMessage({ endedAgeMs: null }), live)).toEqual([]);
    expect(violatedRules(withMessage({ endedAgeMs: 14_000 }), live)).toEqual([]);
    expect(violatedRules(withMessage({ endedAgeMs: 16_000 }), live)).toEqual(['I6']);
    expect(violatedRules(withMessage({ endedAgeMs: null }), quiet)).toEqual(['I6']);
  });
});
