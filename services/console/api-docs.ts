/** The API's own description: the generated documents, as `npm run generate` wrote them. */
import { readFile } from 'node:fs/promises';
import type { FastifyInstance } from '#libs/service/http.ts';

const documents = ['openapi.json', 'asyncapi.json'] as const;

export async function apiDocsRoutes(app: FastifyInstance): Promise<void> {
  for (const name of documents) {
    const text = await readFile(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
    app.get(`/api/${name}`, async (_request, reply) => reply.type('application/json').send(text));
  }
}
