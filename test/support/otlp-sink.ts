/** Takes spans in over OTLP/HTTP as JSON, and keeps them by trace. */
import { createServer } from 'node:http';
import type { Span } from './trace-shape.ts';

/** The value stands below the name of its type: `{"intValue":7}`. */
type Attribute = { key: string; value: Record<string, unknown> };
type OtlpSpan = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  attributes?: Attribute[];
  events?: { name: string; attributes?: Attribute[] }[];
  links?: { traceId: string; spanId: string }[];
  status?: { message?: string };
};
type OtlpBody = {
  resourceSpans?: { resource: { attributes: Attribute[] }; scopeSpans: { spans: OtlpSpan[] }[] }[];
};

export type SentSpan = Span & {
  /** Everything that somebody put into it: attributes, also of its events, and its status. */
  said: string[];
};

export type OtlpSink = Disposable & { url: string; spans: readonly SentSpan[] };

export async function startOtlpSink(port: number): Promise<OtlpSink> {
  const spans: SentSpan[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    request.setEncoding('utf8');
    for await (const chunk of request) text += chunk;
    spans.push(...spansOf(JSON.parse(text) as OtlpBody));
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    [Symbol.dispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const spansOf = ({ resourceSpans = [] }: OtlpBody): SentSpan[] =>
  resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = flat(resource.attributes)['service.name'] ?? '';
    return scopeSpans.flatMap(({ spans }) => spans.map((span) => read(service, span)));
  });

function read(service: string, span: OtlpSpan): SentSpan {
  const { traceId, spanId, parentSpanId = '', name, events = [], links = [], status } = span;
  const attributes = flat(span.attributes);
  const ofEvents = events.flatMap((event) => [event.name, ...Object.values(flat(event.attributes))]);
  const said = [name, ...Object.values(attributes), ...ofEvents, status?.message ?? ''];
  return { service, traceId, spanId, parentId: parentSpanId, name, attributes, links, said };
}

const flat = (attributes: readonly Attribute[] = []): Record<string, string> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, textOf(Object.values(value)[0])]));

/** A list comes as an object: nothing that it holds may hide. */
const textOf = (value: unknown): string =>
  typeof value === 'object' ? JSON.stringify(value) : String(value);
