/** A gateway that runs as in a deployment, before the services of the lab; and requests with forged headers. */
import { request } from 'node:http';
import { isOk } from '#lab/nats.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { type ProblemBody, system } from './api.ts';
import { portOf } from './control.ts';
import { eventually } from './eventually.ts';
import { type StartedService, startService } from './unsafe-broker.ts';

export const bearer = (value: string) => ({ authorization: `Bearer ${value}` });

export type Answer = { status: number; code: string | undefined };

/** Not `fetch`, which does not let a host be forged. */
export function ask(
  port: number,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sent = request(
    {
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    },
    (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => {
        const { code } = (text === '' ? {} : JSON.parse(text)) as Partial<ProblemBody>;
        resolve({ status: response.statusCode ?? 0, code });
      });
    },
  );
  sent.on('error', reject);
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}

/** As a deployment starts it: nothing says LAB. */
export async function startGateway(port: number, env: Record<string, string>): Promise<StartedService> {
  const names = [...participantNames, 'notification', 'coordinator'];
  const urls = names.map((name) => [`${name.toUpperCase()}_URL`, `http://127.0.0.1:${portOf(name)}`]);
  const gateway = startService('console', {
    ...Object.fromEntries(urls),
    SERVICE_PORT: String(port),
    NATS_URL: system.nats.url,
    NATS_MONITOR_URL: system.nats.monitorUrl,
    ...env,
  });
  await eventually('the gateway is ready', () => isOk(`http://127.0.0.1:${port}/readyz`));
  return gateway;
}
