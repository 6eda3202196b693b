import { defineConfig } from 'drizzle-kit';

/** Run by infra/generate once per service; `SERVICE` says which. */
const service = process.env.SERVICE ?? 'order';

export default defineConfig({
  dialect: 'postgresql',
  casing: 'snake_case',
  schema: `./services/${service}/schema.ts`,
  out: `./services/${service}/migrations`,
});
