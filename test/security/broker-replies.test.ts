/** That nobody can have the broker itself do, by an answer of it, what the asker may not. */
import { describe, expect, test } from 'vitest';
import { brokerUsers } from '../../infra/nats/users.ts';
import { system } from '../support/api.ts';
import { alsoImporting, brokerVariants, startBroker, usersOf } from '../support/broker.ts';
import { damageBy } from '../support/broker-replies.ts';

const port = system.portBase + 44;
const withFaults = usersOf('users-faults.conf');
const bound = brokerUsers.filter(({ grants }) => grants).map(({ name }) => name);
const variants = await brokerVariants();
const binary = variants[0]?.binary ?? '';

describe.each(variants)('On $name', ({ binary, settings }) => {
  test.each(bound)('no answer to %s destroys', async (user) => {
    await using broker = await startBroker(binary, withFaults, port, settings);
    expect(await damageBy(user, broker)).toEqual([]);
  });
});

describe('This test', () => {
  // No permission of its user: that is what a reply subject goes around.
  test.each([
    ['$JS.API.STREAM.PURGE.EVENTS', 'consumer order: 0 of 1'],
    ['$JS.API.STREAM.DELETE.EVENTS', 'stream EVENTS is gone'],
    ['$JS.API.CONSUMER.DELETE.EVENTS.order', 'consumer order is gone'],
  ])('sees what answers to payment destroy where its account reaches %s', async (subject, found) => {
    await using broker = await startBroker(binary, alsoImporting(withFaults, 'PAYMENT', subject), port);
    expect(await damageBy('payment', broker)).toContain(found);
  });
});
