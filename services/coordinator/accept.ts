/**
 * An operator's word that the decision log will not come back: what some participant has committed is written into
 * it as committed, and recovery then tells the others. From then on what nobody has committed is presumed aborted
 * again, so whatever is known better about a branch in doubt must have been forced before.
 * Run where the coordinator runs, with its environment.
 */
import { beganAtOf, participantNames } from '#libs/contracts/two-phase.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { readConfig } from '#libs/service/config.ts';
import { currentTraceparent } from '#libs/telemetry/trace-context.ts';
import { coordinatorConfig } from './config.ts';
import { createDecisionLog } from './decision-log.ts';
import { createParticipants } from './participants.ts';
import { hearParticipants } from './testimony.ts';

const config = readConfig(coordinatorConfig);
const pool = createPool(config.DATABASE_URL, {
  name: 'accept',
  purpose: 'steps',
  connectionsMax: 1,
  onError: (error) => console.error(error.message),
});
const log = createDecisionLog({ synced: pool, unsynced: pool }, 'operator');
const { participants, close } = createParticipants(config);

// What an operator has forced counts as well: the one who runs this stands by it.
const lost = await hearParticipants({ log, participants }, { isThorough: true, isProof: () => true });
const known = await log.read([...lost.keys()]);
for (const { transactionId, orderIds, ...found } of lost.values()) {
  const orders = orderIds.map((orderId) => ({ orderId, traceparent: currentTraceparent() }));
  const decision = await log.decide({
    transactionId,
    orders: known.get(transactionId)?.orders ?? orders,
    beganAt: new Date(beganAtOf(transactionId)),
    participants: participantNames,
    decision: 'commit',
    answers: [],
  });
  console.log(JSON.stringify({ transactionId, orderIds, committedBy: found.participants, decision }));
}
await close();
await pool.end();
