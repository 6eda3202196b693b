import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createHttp } from '#libs/service/http.ts';

test('A server logs no line per request, and is made without a word that the next Fastify will not know', async () => {
  const warnings: string[] = [];
  const onWarning = ({ name, message }: Error) => warnings.push(`${name}: ${message}`);
  process.on('warning', onWarning);
  const lines: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const health = async () => ({ ready: true, detail: {} });
  const app = createHttp({ logger, health, metrics: async () => '' });
  app.get('/broken', async () => {
    throw new Error('on purpose');
  });
  for (const path of ['/livez', '/nowhere', '/broken']) await app.inject(path);
  await app.close();
  // A warning is emitted in the next turn.
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['request failed']);
  expect(warnings).toEqual([]);
});
