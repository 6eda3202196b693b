/**
 * `docker compose up` for real: built, started, used, broken, stopped. Needs Docker with Compose v2 and the
 * images that docker-compose.yml names; without them it is skipped, with the reason in its name.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import { eventually } from '../support/eventually.ts';
import { containment } from './containment.ts';
import { composeWith, containers, inside, ports, succeeds } from './docker.ts';
import {
  allEnd,
  call,
  compose,
  has,
  invariantsHold,
  order,
  patient,
  place,
  placingOrders,
  ready,
  running,
  services,
  unless,
  wanted,
  why,
} from './shop.ts';

const upMsMax = 240_000;

describe.skipIf(why !== undefined)(`docker compose up${why ? ` (skipped: ${why})` : ''}`, () => {
  beforeAll(async () => {
    await succeeds(compose('up', '--detach', '--wait', ...wanted));
  }, upMsMax);
  afterAll(() => compose('down', '--volumes', '--timeout', '5'), 60_000);

  test('brings everything up healthy, without a step by hand', async () => {
    const all = await containers();
    expect([...all.keys()].sort()).toEqual([...running, 'provision', 'secrets'].sort());
    for (const name of running) {
      const { State } = all.get(name) ?? {};
      expect([name, State?.Status, State?.Health?.Status ?? 'healthy']).toEqual([name, 'running', 'healthy']);
    }
    for (const name of ['provision', 'secrets']) expect(all.get(name)?.State.ExitCode).toBe(0);
    await ready();
  });

  test('takes orders under both protocols, and refuses what it must', async () => {
    const placed = await place(order('masala-dosa'), patient);
    expect(placed.body).toMatchObject({ status: 'DISPATCHED', protocol: 'saga' });
    const inOne = await place(order('masala-dosa', { protocol: '2pc' }));
    expect([inOne.status, inOne.body.status]).toEqual([201, 'DISPATCHED']);
    const soldOut = await place(order('truffle-thali'), patient);
    expect(soldOut.body).toMatchObject({ status: 'CANCELLED', reason: 'out of stock: truffle-thali' });
    const refused = await place(order('truffle-thali', { protocol: '2pc' }));
    expect([refused.status, refused.body.code]).toEqual([409, 'order-refused-by-participant']);
    await invariantsHold();
  });

  test('has faults and what only an operator may do switched off', async () => {
    expect((await call<{ on: boolean }>('GET', '/api/faults')).body.on).toBe(false);
    const fault = { items: [{ at: 'payment.charge', do: 'refuse' }] };
    expect((await call('PUT', '/api/faults', fault)).status).toBeGreaterThanOrEqual(400);
    const carried = await place(order('masala-dosa', { faults: [{ at: 'payment.charge', do: 'refuse' }] }));
    expect(carried.status).toBeGreaterThanOrEqual(400);
    expect((await inside('gateway', 'cat', '/run/secrets/gateway/admin-token')).stdout).toBe('');
  });

  test.skipIf(!has('jaeger'))(`traces an order to Jaeger${unless('jaeger')}`, async () => {
    const { body } = await place(order('masala-dosa'), patient);
    await eventually('its trace has spans of five services', async () => {
      const trace = await call<{ data: { processes: Record<string, { serviceName: string }> }[] }>(
        'GET',
        `/api/traces/${body.traceId}`,
      );
      const names = Object.values(trace.body.data?.[0]?.processes ?? {}).map((one) => one.serviceName);
      return new Set(names).size >= 5;
    });
  });

  test.skipIf(!has('prometheus'))(`is scraped by Prometheus${unless('prometheus')}`, async () => {
    const ask = (path: string) => {
      const program = `fetch('http://prometheus:9090${path}').then((answer) => answer.text()).then(console.log)`;
      return inside('gateway', 'node', '-e', program);
    };
    await eventually('every service is up', async () => {
      const { stdout } = await ask(
        `/api/v1/query?query=${encodeURIComponent('count by (service) (up == 1)')}`,
      );
      const found: { metric: { service: string } }[] = JSON.parse(stdout).data.result;
      const names = found.map(({ metric }) => metric.service).sort();
      return names.join() === [...services, 'keeper'].sort().join();
    });
    expect(JSON.parse((await ask('/api/v1/rules')).stdout).data.groups[0].rules.length).toBeGreaterThan(5);
  });

  test.skipIf(!has('grafana'))(`is drawn by Grafana${unless('grafana')}`, async () => {
    const shown = await fetch(`http://127.0.0.1:${ports.grafana}/api/dashboards/uid/saga-lab`);
    expect([shown.status, (await shown.text()).includes('"title":"Saga Lab"')]).toEqual([200, true]);
    const asked = await fetch(`http://127.0.0.1:${ports.grafana}/api/datasources/uid/prometheus/health`);
    expect(asked.status).toBe(200);
  });

  containment();

  describe('goes on', () => {
    test('when a service is killed under load: it comes back, and no order is lost', async () => {
      const orders = placingOrders();
      await eventually('orders flow', () => orders.accepted.length > 20);
      // From inside: what dies by itself is restarted, what an operator kills is not. The first process is exempt.
      await inside('payment', 'sh', '-c', 'kill -9 -1');
      const before = orders.accepted.length;
      await eventually('payment is restarted', async () => {
        const payment = (await containers()).get('payment');
        return payment?.RestartCount === 1 && payment.State.Health?.Status === 'healthy';
      });
      await eventually('more orders flow', () => orders.accepted.length > before + 20);
      await allEnd(await orders.stop());
      await invariantsHold();
    });

    test('when a service is stopped under load: it drains, exits with 0, and no order is lost', async () => {
      const orders = placingOrders();
      await eventually('orders flow', () => orders.accepted.length > 20);
      await succeeds(compose('stop', 'inventory', 'gateway'));
      await orders.stop();
      const all = await containers();
      for (const name of ['inventory', 'gateway']) {
        expect([name, all.get(name)?.State]).toEqual([
          name,
          expect.objectContaining({ Status: 'exited', ExitCode: 0 }),
        ]);
      }
      await succeeds(compose('start', 'inventory', 'gateway'));
      await ready();
      await allEnd(orders.accepted);
      await invariantsHold();
    });

    test('after down and up, with its data and its passwords', async () => {
      const { body } = await place(order('masala-dosa'), patient);
      const databaseUrl = () => inside('order', 'cat', '/run/secrets/order/database-url');
      const before = (await databaseUrl()).stdout;
      await succeeds(compose('down'));
      // This time as somebody who wants to break things, with the token that this needs.
      const breaking = composeWith({ FAULTS: 'on' });
      await succeeds(breaking('up', '--detach', '--wait', ...wanted));
      await ready();
      expect((await databaseUrl()).stdout).toBe(before);
      expect((await call<Order>('GET', `/api/orders/${body.orderId}`)).body).toEqual(body);
      // What an operator may is asked for with the token, which the operator can read.
      const { stdout: token } = await inside('gateway', 'cat', '/run/secrets/gateway/admin-token');
      const operator = { authorization: `Bearer ${token}` };
      const fault = { items: [{ at: 'inventory.reserve', do: 'refuse' }] };
      expect((await call('PUT', '/api/faults', fault)).status).toBeGreaterThanOrEqual(401);
      expect((await call('PUT', '/api/faults', fault, operator)).status).toBe(200);
      const refused = await place(order('masala-dosa'), patient);
      const reason = 'injected refusal at inventory.reserve';
      expect(refused.body).toMatchObject({ status: 'CANCELLED', reason });
      expect((await call('DELETE', '/api/faults', undefined, operator)).status).toBe(204);
      expect((await place(order('masala-dosa'), patient)).body.status).toBe('DISPATCHED');
      // A crash is a crash, in a container too: decided, and nobody told, until it is back.
      const faults = [{ at: 'coordinator.after-decision', do: 'crash' }];
      const key = { 'idempotency-key': 'a-crash-in-a-container' };
      const inDoubt = order('masala-dosa', { protocol: '2pc', faults });
      expect((await place(inDoubt, { ...operator, ...key })).status).toBe(503);
      await eventually('the coordinator is restarted', async () => {
        const coordinator = (await containers()).get('coordinator');
        return coordinator?.RestartCount === 1 && coordinator.State.Health?.Status === 'healthy';
      });
      await eventually('the order stands', async () => {
        const again = await place(inDoubt, { ...operator, ...key });
        return again.status < 300 && again.body.status === 'DISPATCHED';
      });
      await invariantsHold();
    });
  });
});
