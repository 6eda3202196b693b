/** Row F20 of the fault matrix: the decision log is older than what the participants have done by it. */
import { expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import { gidOf, participantNames } from '#libs/contracts/two-phase.ts';
import { endOf, place, somebody, system } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import {
  acceptTestimony,
  coordinatorLog,
  copyLog,
  logDetail,
  rollBackLog,
} from '../support/lost-decisions.ts';
import { pause } from '../support/outside.ts';
import { metric } from '../support/service.ts';
import { heal, hitsOf, type NewFault, setFaults } from '../support/set-faults.ts';
import {
  allOfIt,
  inDoubtOf,
  keyed,
  nothingOfIt,
  oneOutcomeOf,
  placeIn2pc,
  preparedEverywhere,
  preparedGids,
  resolve,
  standingOf,
  transactionsOf,
} from '../support/two-phase.ts';

const slowMs = 120_000;
/** What nobody has decided for 20 s is presumed aborted; participants ask every second, and so does recovery. */
const presumedAfterMs = 24_000;

const lost = () => metric('coordinator', /^two_phase_lost_decisions/);
const one = () => {
  const { customerId, dishId } = somebody();
  return { customerId, items: [{ dishId, quantity: 1 }] };
};
const fired = (id: string) => eventually(`the fault ${id} fires`, async () => (await hitsOf(id)) === 1);

test('F20: the decision log is put back to an older copy: it alarms, guesses nothing, and an operator resolves', {
  timeout: slowMs,
}, async () => {
  const [split, untold, told] = [keyed(), keyed(), keyed()];
  expect((await placeIn2pc(one())).status).toBe(201);

  // The copy has this one as begun and undecided: a coordinator that starts with it would abort it at once.
  const { orderId } = split;
  const vote = (id: string, of: string): NewFault => {
    return { id, at: 'coordinator.before-decision', do: 'hang', scope: { orderId: of } };
  };
  const votes = [vote('v', orderId), vote('w', untold.orderId)];
  await setFaults(...votes);
  const splitAnswer = placeIn2pc(one(), split.key);
  const [item] = await preparedEverywhere(orderId);
  await copyLog();

  // Of all that follows the copy knows nothing: one is over, one is committed in one database of four, and one is
  // decided and nobody has been told. Those in doubt ask, and are not heard.
  expect((await placeIn2pc(one(), told.key)).status).toBe(201);
  const untoldSince = Date.now();
  const untoldAnswer = placeIn2pc(one(), untold.key);
  const [untoldItem] = await preparedEverywhere(untold.orderId);
  const ends: NewFault[] = [
    { id: 'deaf', at: 'coordinator.http', do: 'error' },
    { id: 'c', at: 'coordinator.after-first-commit', do: 'hang', scope: { orderId } },
    { id: 'd', at: 'coordinator.after-decision', do: 'hang', scope: { orderId: untold.orderId } },
  ];
  await setFaults(...votes, ...ends);
  await eventually('nobody is heard', async () => ((await hitsOf('deaf')) ?? 0) > 0);
  await setFaults(...ends);
  await fired('c');
  await fired('d');
  for (const each of [split, untold]) {
    expect((await transactionsOf(each.orderId)).map(({ decision }) => decision)).toEqual(['commit']);
  }
  expect(await standingOf(orderId)).toEqual({ ...nothingOfIt, order: 'DISPATCHED' });
  await rollBackLog();
  await heal();
  expect([(await splitAnswer).status, (await untoldAnswer).status]).toEqual([503, 503]);

  expect(await transactionsOf(orderId)).toMatchObject([{ decision: null }]);
  expect([await transactionsOf(untold.orderId), await transactionsOf(told.orderId)]).toEqual([[], []]);
  await eventually('the coordinator alarms', async () => (await lost()) === 2);
  expect(await logDetail()).toMatch(/^older than its participants: 2 decisions are lost/);
  expect(coordinatorLog()).toContain('the decision log has lost decisions');

  // Both protocols go on meanwhile, for whoever does not need what is held.
  const saga = await place(one());
  expect((await endOf(saga.orderId)).status).toBe('DISPATCHED');
  expect((await placeIn2pc(one())).status).toBe(201);

  await pause(Math.max(0, untoldSince + presumedAfterMs - Date.now()));
  const [splitId, untoldId] = [item?.transactionId ?? '', untoldItem?.transactionId ?? ''];
  const doubtful = [
    ...participantNames.filter((name) => name !== 'order').map((name) => gidOf(splitId, name)),
    ...participantNames.map((name) => gidOf(untoldId, name)),
  ];
  expect((await preparedGids()).sort()).toEqual(doubtful.sort());
  const asked = await resolve(gidOf(splitId, 'payment'));
  expect([asked.status, asked.body.code]).toEqual([409, 'undecided']);

  // What no participant can testify, the operator has to know.
  const token = readAdminToken(system.home);
  for (const gid of doubtful.filter((each) => each.includes(untoldId))) {
    expect((await resolve(gid, { heuristic: 'commit', confirm: gid }, token)).status).toBe(200);
  }
  const accepted = acceptTestimony();
  expect(accepted.map(({ transactionId }) => transactionId)).toEqual(
    expect.arrayContaining([splitId, untoldId]),
  );
  expect(accepted.find(({ transactionId }) => transactionId === splitId)?.committedBy).toEqual(['order']);
  expect(await oneOutcomeOf(orderId)).toBe('commit');
  for (const each of [untold, told]) expect(await standingOf(each.orderId)).toEqual(allOfIt);
  await eventually('the alarm ends', async () => (await logDetail()) === 'up');
  expect(await lost()).toBe(0);
  expect(await inDoubtOf(untold.orderId)).toEqual([]);
  await expectInvariants();
});
