/** What is counted in the bucket of faults has an end, on every broker that the services may meet. */
import { randomUUID } from 'node:crypto';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type FaultBucket, openFaultBucket } from '#libs/faults/bucket.ts';
import { fault } from '#libs/faults/fault.ts';
import { createInjector } from '#libs/faults/injector.ts';
import { readNatsUrl } from '#libs/nats/address.ts';
import { eventAgeMsMax, faultStream } from '#libs/nats/streams.ts';
import { forgetHits } from '../../infra/nats/fault-hits.ts';
import { keepBroker } from '../../infra/nats/keeper.ts';
import { provisionBroker } from '../../infra/nats/provision.ts';
import { type BrokerServer, embedded, startBrokerServer } from '../support/broker-server.ts';
import { eventually } from '../support/eventually.ts';
import { brokerImages } from '../support/infra.ts';

const why = inject('whyNoBrokerContainers');
const at = 'payment.charge.before-commit';

describe(`On ${embedded}`, () => ends(embedded));
describe.skipIf(why !== null).each(brokerImages)(`On %s${why ? ` (skipped: ${why})` : ''}`, ends);

function ends(source: string): void {
  let broker: BrokerServer;
  let manager: JetStreamManager;
  let gateway: FaultBucket;
  let payment: FaultBucket;
  const open: NatsConnection[] = [];

  async function as(url: string): Promise<NatsConnection> {
    const connection = await connect(readNatsUrl(url));
    open.push(connection);
    return connection;
  }

  beforeAll(async () => {
    broker = await startBrokerServer(source);
    await provisionBroker({ url: broker.adminUrl, replicas: 1 });
    manager = await jetstreamManager(await as(broker.adminUrl));
    gateway = await openFaultBucket(await as(broker.urlOf('gateway')));
    payment = await openFaultBucket(await as(broker.urlOf('payment')));
  });
  afterAll(async () => {
    for (const connection of open) await connection.close();
    await broker?.remove();
  });

  const keys = async () => {
    const { state } = await manager.streams.info(faultStream, { subjects_filter: '>' });
    return Object.keys(state.subjects ?? {}).map((subject) => subject.replace('$KV.faults.', ''));
  };
  const aDayLater = () => new Date(Date.now() + eventAgeMsMax + 1_000);

  test('the keeper takes out what orders carried and what was deleted, and nothing of what is set', async () => {
    const [kept, healed] = ['kept', 'healed'].map((id) => fault.parse({ id, at, do: 'error' }));
    if (!kept || !healed) throw new Error('two faults');
    await gateway.write([kept, healed]);
    for (const { id } of [kept, healed]) expect(await payment.count(id, 1, 5)).toBe(1);
    await gateway.write([kept]);
    const subject = { orderId: randomUUID(), customerId: 'asha', dishIds: '' };
    const injector = await createInjector(payment, () => {});
    expect(await injector.strike(at, { ...subject, faults: `${at}=hang*1` }, 1)).toMatchObject({
      do: 'hang',
    });
    injector.stop();
    const carried = `hits.carried_${subject.orderId}_payment_charge_before-commit`;
    expect((await keys()).sort()).toEqual(['active', carried, 'hits.healed', 'hits.kept']);

    // As long as anything may still carry it, it counts.
    expect(await forgetHits(manager, new Date())).toBe(0);
    const keeper = await keepBroker({ url: broker.adminUrl, replicas: 1, now: aDayLater });
    await eventually('they are gone', async () => (await keys()).length === 2);
    await keeper.stop();
    expect((await keys()).sort()).toEqual(['active', 'hits.kept']);
    expect(await gateway.hits(['kept'])).toEqual(new Map([['kept', 1]]));
    // Whoever counts again begins anew.
    expect(await payment.count('healed', 1, 5)).toBe(1);
  });
}
