import { expect, test } from 'vitest';
import type { Injector } from '#libs/faults/injector.ts';
import { strikeStep } from '#libs/step/strike.ts';
import type { Intent } from '#libs/step/transact.ts';
import { reactions } from '#services/payment/reactions.ts';

const reaction = reactions.find(({ direction }) => direction === 'do');
const intent = (): Intent => ({
  reaction: reaction as Intent['reaction'],
  cause: {
    id: '1',
    orderId: '2',
    customerId: 'asha',
    dishIds: '',
    data: {},
    lamport: 0,
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
  },
  attempt: 1,
});
const injector = (strike: Injector['strike']): Injector => ({
  armed: () => true,
  aims: () => true,
  strike,
  stop: () => {},
});

test('A fault at a step strikes', async () => {
  const struck = intent();
  await strikeStep(
    injector(async () => ({ do: 'refuse', ms: 0 })),
    struck,
  );
  expect(struck.refusal).toContain('payment.charge');
});

test('A fault whose hit cannot be counted, because the broker is away, does not: the order goes on', async () => {
  const free = intent();
  await strikeStep(
    injector(async () => {
      throw new Error('timeout');
    }),
    free,
  );
  expect([free.refusal, free.sabotage]).toEqual([undefined, undefined]);
});
