/** That a right too many is seen, and that no right for faults is given where they are off. */
import { describe, expect, test } from 'vitest';
import { serviceNames } from '#libs/contracts/events.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { brokerUsers } from '../../infra/nats/users.ts';
import { system } from '../support/api.ts';
import { alsoImporting, brokerVariants, startBroker, usersOf } from '../support/broker.ts';
import { faultAttempts, foreignTo, granted, openAs, permitted } from '../support/broker-rights.ts';
import { forgeByAnswers, openStream } from '../support/broker-stream.ts';

const port = system.portBase + 44;
const withFaults = usersOf('users-faults.conf');
const without = usersOf('users.conf');
const bound = brokerUsers.filter(({ grants }) => grants).map(({ name }) => name);
const binary = (await brokerVariants())[0]?.binary ?? '';

describe('Where faults are off', () => {
  test.each(bound)('%s is let do nothing with them either', async (user) => {
    await using broker = await startBroker(binary, without, port);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    const attempts = [...foreignTo(user), ...faultAttempts];
    expect(await permitted(broker.urlOf(user), attempts)).toEqual([]);
    const rows = granted(user, false);
    expect(await permitted(broker.urlOf(user), rows)).toHaveLength(rows.length);
  });
});

describe('These tests', () => {
  const own = '"payment.>"';
  const read = '"$JS.API.STREAM.MSG.GET.EVENTS"';
  const inbox = '"_INBOX_payment.>"';
  test.each<[string, string, (conf: string) => string, string[]]>([
    [
      'forging',
      'payment',
      (conf) => conf.replace(own, `${own}, "order.confirmed"`),
      ['publish order.confirmed'],
    ],
    [
      'snooping on answers',
      'payment',
      (conf) => conf.replace(inbox, `${inbox}, "_INBOX_order.>"`),
      ['subscribe _INBOX_order.>'],
    ],
    [
      'reading for another',
      'payment',
      (conf) => conf.replace(own, `${own}, "$JS.API.CONSUMER.MSG.NEXT.EVENTS.*"`),
      ['order', 'inventory', 'logistics', 'notification'].map(
        (name) => `publish $JS.API.CONSUMER.MSG.NEXT.EVENTS.${name}`,
      ),
    ],
    [
      'purging',
      'payment',
      (conf) => conf.replace(own, `${own}, "$JS.API.STREAM.PURGE.EVENTS"`),
      ['publish $JS.API.STREAM.PURGE.EVENTS'],
    ],
    [
      'making a consumer',
      'gateway',
      (conf) => conf.replace(read, `${read}, "$JS.API.CONSUMER.CREATE.EVENTS.*"`),
      ['spy', ...serviceNames].map((name) => `publish $JS.API.CONSUMER.CREATE.EVENTS.${name}`),
    ],
  ])('see a right too many: %s', async (_, user, loosen, found) => {
    expect(loosen(withFaults)).not.toBe(withFaults);
    await using broker = await startBroker(binary, loosen(withFaults), port);
    expect(await permitted(broker.urlOf(user), foreignTo(user))).toEqual(found);
  });

  test('see what answers say in the name of another, where an account reaches its subject', async () => {
    await using broker = await startBroker(
      binary,
      alsoImporting(withFaults, 'ORDER', 'inventory.reserved'),
      port,
    );
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    const admin = await openAs(broker.adminUrl);
    const order = await openAs(broker.urlOf('order'));
    try {
      expect(await forgeByAnswers(order, await openStream(admin))).toBeGreaterThan(0);
    } finally {
      await order.close();
      await admin.close();
    }
  });
});
