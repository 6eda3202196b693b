import { describe, expect, test } from 'vitest';
import { gatesOf } from '#lab/links/gates.ts';
import { planLinks, through } from '#lab/links/plan.ts';
import { labTopology, replicaPortStep, scaled } from '#lab/topology.ts';

const portBase = 26_000;

describe('The links of a lab', () => {
  test('lead from each process to what it talks to: its own database, all of them from a gateway, every broker', () => {
    const plans = planLinks(labTopology, portBase, true);
    const of = (client: string) => plans.filter((plan) => plan.client === client).map(({ server }) => server);
    expect(of('payment')).toEqual(['payment-db', 'nats']);
    expect(of('coordinator')).toEqual(['coordinator-db', 'nats']);
    expect(of('gateway')).toEqual([...labTopology.databases.map(({ name }) => `${name}-db`), 'nats']);
    const somebodysOwn = planLinks(labTopology, portBase, false);
    expect(somebodysOwn.filter(({ server }) => server === 'nats')).toEqual([]);
  });

  test('have ports of their own above those of all replicas and nodes', () => {
    const plans = planLinks(scaled(labTopology, 2, 5), portBase, true);
    const ports = plans.map(({ port }) => port);
    expect(new Set(ports).size).toBe(ports.length);
    expect(Math.min(...ports)).toBe(portBase + 5 * replicaPortStep);
    expect(plans.filter(({ client }) => client === 'order-2').map(({ server }) => server)).toEqual([
      'order-db',
      'nats',
      'nats-2',
      'nats-3',
      'nats-4',
      'nats-5',
    ]);
  });

  test('take the place of the servers in the URLs of their own process only', () => {
    const plans = planLinks(scaled(labTopology, 1, 3), portBase, true);
    const portOf = (server: string) =>
      plans.find((plan) => plan.client === 'order' && plan.server === server)?.port;
    const brokers = 'nats://order:p26020@127.0.0.1:26020,127.0.0.1:26080,127.0.0.1:26140';
    expect(through(plans, 'order', brokers)).toBe(
      `nats://order:p26020@127.0.0.1:${portOf('nats')},127.0.0.1:${portOf('nats-2')},127.0.0.1:${portOf('nats-3')}`,
    );
    const foreign = 'postgres://payment:x@127.0.0.1:26012/payment';
    expect(through(plans, 'order', foreign)).toBe(foreign);
    expect(through([], 'order', brokers)).toBe(brokers);
  });
});

describe('The delays of a link', () => {
  const drawn = (seed: number) => {
    const { up } = gatesOf({ mode: 'latency', ms: 100, jitterMs: 50, seed });
    return Array.from({ length: 200 }, () => (up.kind === 'late' ? up.delayMs() : 0));
  };

  test('are the same for the same seed, others for another, and within their bounds', () => {
    expect(drawn(7)).toEqual(drawn(7));
    expect(drawn(8)).not.toEqual(drawn(7));
    expect(Math.min(...drawn(7))).toBeGreaterThanOrEqual(100);
    expect(Math.max(...drawn(7))).toBeLessThan(150);
    expect(Math.max(...drawn(7)) - Math.min(...drawn(7))).toBeGreaterThan(40);
  });
});
