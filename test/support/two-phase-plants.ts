/** Violations of two-phase commit to plant: in branches, in the decision log, and as real prepared transactions. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { gidOf } from '#libs/contracts/two-phase.ts';
import type { Plant } from './plants.ts';
import { write } from './write.ts';

/** Names the transaction of the order $1 in a participant's database, and in the coordinator's. */
const branchOf = 'where $1 = any(order_ids)';
const transactionOf = `where orders @> jsonb_build_array(jsonb_build_object('orderId', $1::text))`;

const strayTransaction = randomUUID();
const foreignGid = 'somebody else';
/** What was deleted, to be put back. */
let kept: pg.QueryResultRow | undefined;
let gid = '';

export const plantsOfTwoPhase = (good: () => string, agreed: () => string, strayId: string): Plant[] => [
  {
    rule: 'I8',
    name: 'a commit that a participant does not know',
    about: agreed,
    async plant() {
      [kept] = await write('payment', `delete from branches ${branchOf} returning *`, [agreed()]);
    },
    uproot: () =>
      write('payment', 'insert into branches values ($1, $2, $3, $4)', [
        ...[kept?.transaction_id, kept?.state, kept?.order_ids, kept?.recorded_at],
      ]),
  },
  {
    rule: 'I8',
    name: 'a branch that was committed without a decision',
    about: () => strayId,
    plant: () =>
      write('inventory', `insert into branches values ($1, 'prepared', $2, now())`, [
        strayTransaction,
        [strayId],
      ]),
    uproot: () => write('inventory', 'delete from branches where transaction_id = $1', [strayTransaction]),
  },
  {
    rule: 'I8',
    name: 'an abort that an operator forced against the log',
    about: agreed,
    plant: () => setState(agreed(), 'heuristic-abort'),
    uproot: () => setState(agreed(), 'prepared'),
  },
  {
    rule: 'I8',
    name: 'a decision that became another',
    about: agreed,
    plant: () => setDecision(agreed(), 'abort'),
    uproot: () => setDecision(agreed(), 'commit'),
  },
  {
    rule: 'I8',
    name: 'a client that was told of an order that does not exist',
    about: () => strayId,
    plant: () =>
      write(
        'coordinator',
        `insert into answers (order_id, transaction_id, outcome, answer)
         select $2, transaction_id, 'done', '{}' from transactions ${transactionOf}`,
        [agreed(), strayId],
      ),
    uproot: () => write('coordinator', 'delete from answers where order_id = $1', [strayId]),
  },
  {
    rule: 'I8',
    name: 'an order that no transaction placed',
    also: ['I13'],
    about: good,
    plant: () => setProtocol(good(), '2pc'),
    uproot: () => setProtocol(good(), 'saga'),
  },
  {
    rule: 'I9',
    name: 'a branch that still stands prepared',
    about: agreed,
    async plant() {
      const [row] = await write('coordinator', `select transaction_id from transactions ${transactionOf}`, [
        agreed(),
      ]);
      gid = gidOf(row?.transaction_id, 'payment');
      await prepare('payment', gid);
    },
    uproot: () => rollback('payment', gid),
  },
  {
    rule: 'I9',
    name: 'a prepared transaction of somebody else',
    about: () => null,
    plant: () => prepare('logistics', foreignGid),
    uproot: () => rollback('logistics', foreignGid),
  },
];

const setState = (orderId: string, state: string) =>
  write('logistics', `update branches set state = $2 ${branchOf}`, [orderId, state]);
const setDecision = (orderId: string, decision: string) =>
  write('coordinator', `update transactions set decision = $2 ${transactionOf}`, [orderId, decision]);
const setProtocol = (orderId: string, protocol: string) =>
  write('order', 'update orders set protocol = $2 where order_id = $1', [orderId, protocol]);

/** It holds nothing, so that it does no harm whichever way it ends. */
const prepare = (name: string, id: string) =>
  write(name, `begin; prepare transaction ${pg.escapeLiteral(id)}`);

const undefinedObject = '42704';
/** A participant may have found it in doubt meanwhile, asked the coordinator, and ended it. */
const rollback = (name: string, id: string) =>
  write(name, `rollback prepared ${pg.escapeLiteral(id)}`).catch((error) => {
    if (error.code !== undefinedObject) throw error;
  });
