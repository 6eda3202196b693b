/** Reads a trace as Jaeger's query API has it, asked through the gateway as a page would ask. */
import { once, type Span } from './trace-shape.ts';

type Tag = { key: string; value: unknown };
type Reference = { refType: 'CHILD_OF' | 'FOLLOWS_FROM'; traceID: string; spanID: string };
type JaegerSpan = {
  traceID: string;
  spanID: string;
  operationName: string;
  references: Reference[];
  tags: Tag[];
  processID: string;
  startTime: number;
  duration: number;
  warnings?: string[] | null;
};
export type JaegerTrace = {
  traceID: string;
  spans: JaegerSpan[];
  processes: Record<string, { serviceName: string }>;
};

/** Undefined as long as Jaeger has none. */
export async function readTrace(labUrl: string, traceId: string): Promise<JaegerTrace | undefined> {
  const response = await fetch(`${labUrl}/api/traces/${traceId}`);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`the gateway answered ${response.status}: ${await response.text()}`);
  const { data } = (await response.json()) as { data: JaegerTrace[] };
  if (data.length !== 1) throw new Error(`Jaeger has ${data.length} traces of the id ${traceId}`);
  return data[0];
}

export async function spansInJaeger(labUrl: string, traceId: string): Promise<Span[]> {
  const trace = await readTrace(labUrl, traceId);
  return trace ? once(trace.spans.map((span) => spanOf(span, trace))) : [];
}

function spanOf(span: JaegerSpan, { processes }: JaegerTrace): Span {
  const { traceID, spanID, operationName, references, tags, processID } = span;
  const parent = references.find(({ refType, traceID: of }) => refType === 'CHILD_OF' && of === traceID);
  return {
    service: processes[processID]?.serviceName ?? '',
    traceId: traceID,
    spanId: spanID,
    parentId: parent?.spanID ?? '',
    name: operationName,
    attributes: Object.fromEntries(tags.map(({ key, value }) => [key, String(value)])),
    links: references
      .filter((reference) => reference !== parent)
      .map(({ traceID: of, spanID: to }) => ({ traceId: of, spanId: to })),
  };
}
