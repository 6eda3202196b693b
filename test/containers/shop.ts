/** What is deployed, and what is asked of it: orders, through whatever happens. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Order } from '#libs/contracts/orders.ts';
import { databases } from '../../infra/docker/containers.ts';
import { eventually } from '../support/eventually.ts';
import { composeWith, isHere, ports, whyNoContainers } from './docker.ts';

const file = readFileSync(resolve(import.meta.dirname, '../../docker-compose.yml'), 'utf8');
const imageOf = (variable: string): string =>
  new RegExp(`\\$\\{${variable}:-([^}]+)\\}`).exec(file)?.[1] ?? '';
export const why = whyNoContainers(['NODE_IMAGE', 'POSTGRES_IMAGE', 'NATS_IMAGE'].map(imageOf));

/** Said once and aloud: a skipped test is silent about its reason. */
const skips = (reason: string) => process.stderr.write(`SKIPPED test/containers: ${reason}\n`);
if (why !== undefined) skips(`${why}`);

export const services = [...databases, 'gateway'] as const;
const databaseServers = databases.map((name) => `${name}-db`);
/** Nothing depends on these: where an image cannot be had, the rest is tested all the same. */
const observers = ['jaeger', 'prometheus', 'grafana'].filter(
  (name) => why === undefined && isHere(imageOf(`${name.toUpperCase()}_IMAGE`)),
);
const absent = ['jaeger', 'prometheus', 'grafana'].filter((name) => !observers.includes(name));
if (why === undefined && absent.length > 0) {
  skips(`what needs ${absent.join(', ')} is skipped: the image is not here and cannot be pulled`);
}
export const wanted = [...services, 'keeper', ...observers];
export const has = (observer: string): boolean => observers.includes(observer);
export const unless = (observer: string): string =>
  has(observer) ? '' : ` (skipped: the image of ${observer} is not here)`;
export const running = [...wanted, ...databaseServers, 'nats'];

export const compose = composeWith();
const url = `http://127.0.0.1:${ports.gateway}`;

export async function call<Body>(
  method: string,
  path: string,
  body?: object,
  headers: Record<string, string> = {},
) {
  const sent = body && { body: JSON.stringify(body) };
  const response = await fetch(new URL(path, url), {
    method,
    headers: { ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
    ...sent,
    signal: AbortSignal.timeout(20_000),
  });
  const text = await response.text();
  return { status: response.status, body: (text === '' ? undefined : JSON.parse(text)) as Body };
}

export const order = (dishId: string, over: object = {}) => {
  return { customerId: 'asha', city: 'bengaluru', items: [{ dishId, quantity: 1 }], ...over };
};
export const place = (body: object, headers: Record<string, string> = {}) =>
  call<Order & { code: string }>('POST', '/api/orders', body, headers);
export const patient = { prefer: 'wait=5' };

/** Places orders one after another, through whatever happens, and gives those that were accepted. */
export function placingOrders() {
  const accepted: string[] = [];
  let stopping = false;
  const loop = (async () => {
    while (!stopping) {
      const answer = await place(order('masala-dosa')).catch(() => undefined);
      if (answer && answer.status < 300) accepted.push(answer.body.orderId);
      await new Promise((done) => setTimeout(done, 20));
    }
  })();
  return {
    accepted,
    async stop() {
      stopping = true;
      await loop;
      return accepted;
    },
  };
}

export async function allEnd(orderIds: readonly string[]): Promise<void> {
  const open = new Set(orderIds);
  await eventually(
    'every accepted order ends',
    async () => {
      for (const id of open) {
        const { status, body } = await call<Order>('GET', `/api/orders/${id}`);
        if (status === 200 && body.endedAt) open.delete(id);
      }
      return open.size === 0;
    },
    60_000,
  );
}

export const invariantsHold = () =>
  eventually('the invariants hold', async () => {
    const { body } = await call<{ holds: boolean }>('GET', '/api/invariants?quiet=true');
    return body.holds;
  });

export const ready = () =>
  eventually(
    'the gateway is ready',
    async () => (await call('GET', '/readyz').catch(() => undefined))?.status === 200,
    60_000,
  );
