/** F25 once more: a broker alone that stands still is waited for, and nothing comes late when it goes on. */
import { expect, test } from 'vitest';
import { call, orderBody } from '../support/api.ts';
import { expectInvariants } from '../support/invariants.ts';
import { control, isReady } from '../support/outside.ts';

/** Above three unanswered pings, after which another node of a cluster would be looked for; below an ack wait. */
const stillMs = 7_000;
/** A message that was sent to a connection which is gone would take the ack wait of 10 s. */
const lateMs = 5_000;

test('F25: what was asked for while the broker stood still comes as soon as it goes on', async () => {
  await control.act('nats', 'pause');
  const answered = call('POST', '/api/orders', {
    headers: { prefer: 'wait=30' },
    body: orderBody(),
  });
  const readiness = new Promise((resolve) => setTimeout(resolve, stillMs / 2)).then(() => isReady('payment'));
  await new Promise((resolve) => setTimeout(resolve, stillMs));
  const resumedAt = performance.now();
  await control.act('nats', 'resume');
  expect(await answered).toMatchObject({ status: 201, body: { status: 'DISPATCHED' } });
  expect(performance.now() - resumedAt).toBeLessThan(lateMs);
  expect(await readiness).toBe(false);
  await expectInvariants();
});
