/** What a failed test leaves behind: the stories of its orders, and where the lab's data and logs are. */
import { afterEach, beforeEach, inject } from 'vitest';
import { call, placedInTest } from './api.ts';

const ordersMax = 3;

beforeEach(() => {
  placedInTest.length = 0;
});

afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail') return;
  process.stderr.write(`\nEvidence of "${task.name}", lab in ${inject('system').home}\n`);
  for (const orderId of placedInTest.slice(-ordersMax)) {
    const [order, timeline] = await Promise.all([
      call('GET', `/api/orders/${orderId}`).then(({ text }) => text),
      call<{ items: object[] }>('GET', `/api/orders/${orderId}/timeline`),
    ]).catch((error) => [String(error), undefined] as const);
    process.stderr.write(`${order}\n`);
    for (const item of timeline?.body.items ?? []) process.stderr.write(`  ${JSON.stringify(item)}\n`);
  }
});
