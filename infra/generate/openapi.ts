/** docs/openapi.json: the public port, from the rows and schemas of libs/contracts. */
import type { z } from 'zod';
import { type ApiAnswer, type ApiRoute, apiRoutes, commonProblems, components } from '#libs/contracts/api.ts';
import { type ProblemCode, problemContentType, problems } from '#libs/contracts/problems.ts';
import { converter, type JsonSchema } from './json-schema.ts';

const tags: Readonly<Record<ApiRoute['tag'], string>> = {
  orders: 'Place, read and cancel orders',
  resources: 'What the services own',
  faults: 'Break things on purpose',
  observing: 'See what happens, and whether it is right',
  health: 'For whoever runs it',
};

const problemName = 'Problem';

export function openApi() {
  const sent = converter(components, 'input');
  const answered = converter(components, 'output');
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of apiRoutes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, sent.use, answered.use) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Saga Lab',
      version: '1',
      description:
        'Amounts are integers in paise. Every error is a problem (RFC 9457) with a registered code.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: { schemas: { ...sent.named(), ...answered.named() } },
  };
}

type Use = (schema: z.ZodType) => JsonSchema;

function operation(route: ApiRoute, sent: Use, answered: Use) {
  const { id, tag, summary, body, example } = route;
  const parameters = [
    ...parametersIn('path', route.params, sent),
    ...parametersIn('query', route.query, sent),
    ...parametersIn('header', route.headers, sent),
  ];
  const content = body && {
    'application/json': { schema: sent(body), ...(example === undefined ? {} : { example }) },
  };
  const isBodyNeeded = body !== undefined && !body.safeParse(undefined).success;
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(content ? { requestBody: { required: isBodyNeeded, content } } : {}),
    responses: { ...answersOf(route, answered), ...problemsOf(route, answered) },
  };
}

function parametersIn(place: 'path' | 'query' | 'header', schema: z.ZodObject | undefined, sent: Use) {
  if (schema === undefined) return [];
  const { properties, required = [] } = sent(schema) as {
    properties: Record<string, JsonSchema>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...own }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: own,
  }));
}

function answersOf({ answers }: ApiRoute, answered: Use): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => [status, answerOf(answer, answered)]),
  );
}

function answerOf(
  { means, schema, contentType = 'application/json', headers = [] }: ApiAnswer,
  answered: Use,
) {
  const hasContent = schema !== undefined || contentType !== 'application/json';
  return {
    description: means,
    ...(headers.length > 0
      ? { headers: Object.fromEntries(headers.map((name) => [name, { schema: { type: 'string' } }])) }
      : {}),
    ...(hasContent
      ? { content: { [contentType]: { schema: schema ? answered(schema) : { type: 'string' } } } }
      : {}),
  };
}

/** One answer per status, which says the codes that come with it; one that has its own meaning keeps it. */
function problemsOf({ answers, problems: own }: ApiRoute, answered: Use): Record<string, unknown> {
  const codes = [...new Set([...own, ...commonProblems])];
  const byStatus = Map.groupBy(codes, (code) => problems[code].status);
  const rows = [...byStatus].filter(([status]) => !(status in answers)).sort(([a], [b]) => a - b);
  return Object.fromEntries(rows.map(([status, found]) => [status, problemAnswer(found, answered)]));
}

function problemAnswer(codes: readonly ProblemCode[], answered: Use) {
  const schema = answered(components[problemName]);
  return {
    description: codes.map((code) => `${code}: ${problems[code].title}`).join('\n\n'),
    content: { [problemContentType]: { schema } },
  };
}
