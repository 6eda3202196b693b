/** What a storm takes for a bite, at a real link between real sockets. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import type { Lab } from '#lab/lab.ts';
import { openLink } from '#lab/links/link.ts';
import { perform } from '#lab/storm/act.ts';
import type { Act } from '#lab/storm/schedule.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/free-port.ts';

test('A reset bites by the connections that it ends itself, and not by those of an earlier one', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port: target } = server.address() as AddressInfo;
  const port = await freePort();
  const link = await openLink({ client: 'order', server: 'order-db', port, target });
  const lab: Partial<Lab> = {
    links: async () => [link.state()],
    link: async (_client, _server, mode) => {
      link.set(mode);
      return [link.state()];
    },
  };
  const reset: Act = {
    atMs: 0,
    forMs: 0,
    kind: 'link',
    client: 'order',
    server: 'order-db',
    mode: { mode: 'reset' },
  };
  const client = connect(port, '127.0.0.1').on('error', () => undefined);
  await eventually('a connection', () => sockets.length === 1);

  expect((await perform(lab as Lab, reset, 0)).fired).toBe('1 resets');
  await eventually('its end', () => link.state().connections === 0);
  expect((await perform(lab as Lab, reset, 1)).fired).toBeNull();

  client.destroy();
  await link.close();
  server.close();
});
