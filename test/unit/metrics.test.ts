import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { createLooks } from '#libs/service/looks.ts';
import { createTally } from '#libs/service/tally.ts';

test('A tally is a histogram of the text format: buckets add up to the count', async () => {
  const registry = new Registry();
  registry.setDefaultLabels({ service: 'payment' });
  const tally = createTally(registry, {
    name: 'took_seconds',
    help: 'Took',
    label: 'step',
    buckets: [0.1, 1],
  });
  for (const seconds of [0.05, 0.1, 0.5, 3]) tally.observe('charge', seconds);
  expect(await registry.metrics()).toBe(
    [
      '# HELP took_seconds Took',
      '# TYPE took_seconds histogram',
      'took_seconds_bucket{le="0.1",step="charge",service="payment"} 2',
      'took_seconds_bucket{le="1",step="charge",service="payment"} 3',
      'took_seconds_bucket{le="+Inf",step="charge",service="payment"} 4',
      'took_seconds_sum{step="charge",service="payment"} 3.65',
      'took_seconds_count{step="charge",service="payment"} 4',
      '',
    ].join('\n'),
  );
});

const help = { depth: 'How many', age: 'How old' };

test('What is looked at stands on the page, and a null does not', async () => {
  const looks = createLooks(new Registry());
  looks.add('here', help, async () => ({ depth: 7, age: null }));
  const page = await looks.metrics();
  expect(page).toMatch(/^depth 7$/m);
  expect(page).not.toMatch(/^age /m);
  expect(page).toMatch(/^saga_looks_failed_total\{at="here"\} 0$/m);
});

test('A look that fails leaves its values out and is counted; the page comes all the same', async () => {
  const looks = createLooks(new Registry());
  let away = false;
  looks.add('here', help, async () => {
    if (away) throw new Error('away');
    return { depth: 7, age: 1 };
  });
  looks.add('there', { other: 'Other' }, async () => ({ other: 3 }));
  expect(await looks.metrics()).toMatch(/^depth 7$/m);
  away = true;
  await pause(1_050);
  const page = await looks.metrics();
  expect(page).not.toMatch(/^depth /m);
  expect(page).toMatch(/^other 3$/m);
  expect(page).toMatch(/^saga_looks_failed_total\{at="here"\} 1$/m);
});

test('A look that does not come back is waited for a second, and asked once', async () => {
  const looks = createLooks(new Registry());
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<{ depth: number }>();
  looks.add('here', help, () => {
    asked += 1;
    return promise;
  });
  const startedAtMs = performance.now();
  const pages = await Promise.all([looks.metrics(), looks.metrics()]);
  expect(performance.now() - startedAtMs).toBeLessThan(1_500);
  for (const page of pages) expect(page).not.toMatch(/^depth /m);
  resolve({ depth: 4 });
  await pause(10);
  expect(await looks.metrics()).toMatch(/^depth 4$/m);
  expect(asked).toBe(1);
});

test('Scrapers that come together share one look', async () => {
  const looks = createLooks(new Registry());
  let asked = 0;
  looks.add('here', help, async () => ({ depth: ++asked }));
  await Promise.all([looks.metrics(), looks.metrics()]);
  expect(await looks.metrics()).toMatch(/^depth 1$/m);
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
