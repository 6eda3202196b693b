/** One service of the shared lab, asked on its own port and looked at in its own database. */
import { request } from 'node:http';
import pg from 'pg';
import { system } from './api.ts';
import { portOf } from './control.ts';

export type RawAnswer = { status: number; type: string; text: string };

/** Straight to the service, past the gateway, and without the corrections of `fetch`. */
export function ask(service: string, method: string, path: string, body?: string): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const options = { host: '127.0.0.1', port: portOf(service), method, path, headers };
    request(options, (answer) => {
      let text = '';
      answer.on('data', (chunk) => {
        text += chunk;
      });
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, type: answer.headers['content-type'] ?? '', text }),
      );
    })
      .on('error', reject)
      .end(body);
  });
}

export async function query<Row extends pg.QueryResultRow>(service: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: system.databases[service]?.url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

export async function metric(service: string, pattern: RegExp): Promise<number> {
  const { text } = await ask(service, 'GET', '/metrics');
  const values = text.split('\n').filter((line) => pattern.test(line));
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
