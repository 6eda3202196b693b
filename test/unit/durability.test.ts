import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { durabilityFlaw } from '#libs/nats/durability.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A node's monitor, as far as it tells how the node syncs. */
async function node(syncsAlways: boolean): Promise<string> {
  const varz = { jetstream: { config: syncsAlways ? { sync_always: true } : {} } };
  const server = createServer((_request, response) => response.end(JSON.stringify(varz)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const nobody = 'http://127.0.0.1:9';

test('A cluster is durable when every node that answers syncs before it acknowledges', async () => {
  const good = [await node(true), await node(true), await node(true)];
  expect(await durabilityFlaw('2.10.0', good.join())).toBeNull();
  expect(await durabilityFlaw('2.10.0', [...good.slice(1), nobody].join(', '))).toBeNull();
  expect(await durabilityFlaw('2.10.0', [...good.slice(1), await node(false)].join())).toContain(
    'sync_interval',
  );
});

test('A broker of which nothing can be known is not taken for durable', async () => {
  await expect(durabilityFlaw('2.10.0', [nobody, nobody].join())).rejects.toThrow();
  expect(await durabilityFlaw('2.10.0', undefined)).toContain('NATS_MONITOR_URL');
  expect(await durabilityFlaw('2.9.25', await node(true))).toContain('too old');
});
