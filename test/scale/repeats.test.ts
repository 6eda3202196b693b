import { randomUUID } from 'node:crypto';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, headers } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { labControl } from '#lab/control/client.ts';
import { readNatsUrl } from '#libs/nats/address.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { deadLetterStream } from '#libs/nats/streams.ts';
import { system } from '../support/api.ts';
import { portOf } from '../support/control.ts';

import { pausing } from '../support/two-phase.ts';

const subject = 'dead-letter.nobody';

/**
 * A leader proposes a message to its cluster and, on 2.10, answers its repeat as a duplicate although nobody has
 * stored it. When a leader stood still and others went on without it, such messages are lost.
 */
test('What only a minority has in hand is not taken for stored', async () => {
  const anywhere = await connect(readNatsUrl(system.nats.url));
  const manager = await jetstreamManager(anywhere);
  const leader = (await manager.streams.info(deadLetterStream)).cluster?.leader ?? '';
  await anywhere.close();

  const { servers: _, ...credentials } = readNatsUrl(system.nats.url);
  const connection = await connect({ ...credentials, servers: `127.0.0.1:${portOf(leader)}` });
  const [first, second] = ['nats', 'nats-2', 'nats-3'].filter((node) => node !== leader);
  const message = { messageId: randomUUID(), subject, body: '[]' };
  const header = headers();
  header.set('Nats-Msg-Id', message.messageId);
  {
    using _first = pausing(first ?? '');
    using _second = pausing(second ?? '');
    connection.publish(subject, message.body, { headers: header });
    await expect(createPublisher(connection)(message)).rejects.toThrow(/has not stored it yet|is in process/);
  }
  await labControl(system.home).ready();
  await (await jetstreamManager(connection)).streams.purge(deadLetterStream, { filter: subject });
  await connection.close();
});
