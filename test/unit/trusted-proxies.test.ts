/** Whose word the gateway takes for who asks: by that address the rates are limited. */
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createHttp } from '#libs/service/http.ts';
import { gatewayConfig } from '#services/console/config.ts';

const { TRUSTED_PROXIES: schema } = gatewayConfig.shape;
const client = '198.51.100.7';

/** Who asks, of a request that comes from `proxy` and says that it was the client's. */
async function askedBy(proxy: string, trustedProxies: string[] | undefined): Promise<string> {
  const logger = pino({ level: 'silent' });
  const health = async () => ({ ready: true, detail: {} });
  const app = createHttp({ logger, health, metrics: async () => '', trustedProxies });
  app.get('/ip', async ({ ip }) => ip);
  const headers = { 'x-forwarded-for': client };
  const { body } = await app.inject({ url: '/ip', remoteAddress: proxy, headers });
  await app.close();
  return body;
}

test.each([
  ['10.1.2.3', '10.0.0.0/8', client],
  ['10.1.2.3', ' 192.0.2.1 , 10.1.2.3', client],
  ['fd00::1', 'fd00::/8', client],
  ['10.1.2.3', '192.0.2.1', '10.1.2.3'],
  ['10.1.2.3', '', '10.1.2.3'],
  ['10.1.2.3', undefined, '10.1.2.3'],
])('A request from %s, where the proxies are %j, is one of %s', async (proxy, text, expected) => {
  expect(await askedBy(proxy, schema.parse(text))).toBe(expected);
});

test.each(['ingress', '10.0.0.0/0', '10.0.0.0/33', '10.0.0/8', '10.0.0.1:80', 'fd00::/129'])(
  '%s is no network of proxies',
  (text) => {
    expect(schema.safeParse(text).error?.issues[0]?.message).toContain('takes addresses or networks');
  },
);
