/** A gateway that answers by rule, and the home of a lab that has it: no lab is started. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeState } from '#lab/home.ts';
import type { Lab } from '#lab/lab.ts';
import { identify } from '#lab/process-table.ts';

export type Asked = { method: string; path: string; key: string | undefined };
/** `reset`: the connection ends without an answer. */
export type Rule = (asked: Asked) => { status: number; body: object } | 'reset';

export type GatewayByRule = AsyncDisposable & { home: string; lab: Lab; asked: Asked[] };

/** `parts`: what its lab does beyond answering. */
export async function gatewayByRule(rule: Rule, parts: Partial<Lab> = {}): Promise<GatewayByRule> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const key = request.headers['idempotency-key'] as string | undefined;
    const one = { method: request.method ?? '', path: request.url ?? '', key };
    asked.push(one);
    const answer = rule(one);
    request.resume();
    if (answer === 'reset') return void request.socket.resetAndDestroy();
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const home = mkdtempSync(join(tmpdir(), 'saga-by-rule-'));
  const launcher = identify(process.pid);
  if (!launcher) throw new Error('this process is not in the process table');
  const addresses = { url, urls: [url], home, databases: {}, nats: { url: '', monitorUrl: '' } };
  writeState({ ...addresses, jaegerUrl: null, launcher, startedAt: '', parts: {}, control: '' });
  return {
    home,
    asked,
    lab: { ...addresses, states: async () => [], links: async () => [], ...parts } as Lab,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(home, { recursive: true, force: true });
    },
  };
}

export const problem = (status: number, code: string) => ({ status, body: { title: code, status, code } });
