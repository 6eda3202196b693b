/** Clients that wait for an answer, but not for ever; and what the tiny service was told. */
import pg from 'pg';

/** How long a client waits for an answer before it gives up. */
const patienceMs = 400;

export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2 * patienceMs });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await Promise.race([client.end(), pause(patienceMs)]);
  }
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
export const silence = 'silence' as const;
export const inTime = <T>(answer: Promise<T>): Promise<T | typeof silence> =>
  Promise.race([answer, pause(patienceMs).then(() => silence)]);

/** Of the tiny service at that port. */
export const environmentOf = async <Environment>(port: number): Promise<Environment> =>
  (await (await fetch(`http://127.0.0.1:${port}/environment`)).json()) as Environment;
