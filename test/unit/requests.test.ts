import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { Problem } from '#libs/contracts/problems.ts';
import { createHttp } from '#libs/service/http.ts';
import { createRequester } from '#libs/service/requests.ts';
import type { SagaDriver } from '#libs/step/saga-driver.ts';
import { order } from '#services/order/service.ts';
import { someCause } from '../support/world.ts';

const driverWith = (waiting: number) =>
  ({ waiting: () => waiting, submit: () => {} }) as unknown as SagaDriver;
const cancel = (driver: SagaDriver) =>
  createRequester(order.reactions, driver)('request:cancel-order', {
    ...someCause({}),
    data: { reason: 'changed my mind' },
  });

test('A request that would be one too many is told to come again, and the one before it is not', () => {
  expect(() => cancel(driverWith(5_000))).toThrow(expect.objectContaining({ code: 'overloaded' } as Problem));
  expect(cancel(driverWith(4_999))).toBeInstanceOf(Promise);
});

test('Who is told so is told when', async () => {
  const app = createHttp({
    logger: pino({ level: 'silent' }),
    health: async () => ({ ready: true, detail: {} }),
    metrics: async () => '',
  });
  app.get('/', async () => cancel(driverWith(5_000)));
  const answer = await app.inject('/');
  expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '2']);
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect((await app.inject('/nothing')).headers['retry-after']).toBeUndefined();
  await app.close();
});
