import type { Order } from '#libs/contracts/orders.ts';
import { labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { type JaegerAnswer, traceSpansOf, traceTree } from '../trace-tree.ts';

export const summary =
  "Shows an order's trace as a tree, as Jaeger has it. Spans arrive there within a second.";
export const positionals = '<order id or trace id>';
export const options = {
  statements: { type: 'boolean', description: 'also what was asked of the databases' },
} as const satisfies Options;
export const examples = [
  'npx lab trace 01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11',
  'npx lab trace da95adce63b44f05915a7e5864e527e1 --statements',
];

const traceIdForm = /^[0-9a-f]{32}$/;

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [id, ...more] = positionals;
  if (id === undefined || more.length > 0) throw new UsageError('trace wants one order id or trace id');
  const api = labApi(io.home);
  const traceId = traceIdForm.test(id)
    ? id
    : (await api.request<Order>('GET', `/api/orders/${encodeURIComponent(id)}`)).body.traceId;
  const { body } = await api.request<JaegerAnswer>('GET', `/api/traces/${traceId}`);
  if (values.json) {
    io.out(JSON.stringify(body));
    return 0;
  }
  const spans = traceSpansOf(body);
  for (const line of traceTree(spans, { statements: values.statements ?? false })) io.out(line);
  if (api.jaegerUrl !== null) io.out(`\n${api.jaegerUrl}/trace/${traceId}`);
  return 0;
}
