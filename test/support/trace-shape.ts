/**
 * What is to be seen in a trace, wherever its spans were read: who is a root, who has lost a parent, and which
 * edges lead from whom to whom. What there should be is made from the reactions, as the diagram is.
 */
import { definitions, type FlowRow, flow } from '../../infra/generate/flow.ts';

export type Span = {
  service: string;
  traceId: string;
  spanId: string;
  /** Empty for a root. */
  parentId: string;
  name: string;
  attributes: Record<string, string>;
  links: readonly { traceId: string; spanId: string }[];
};

/** A span that is told twice (a crash between its sending and its mark) is one span. */
export const once = <S extends Span>(spans: readonly S[]): S[] => [
  ...new Map(spans.toReversed().map((span) => [span.spanId, span])).values(),
];

const nameOf = ({ service, name }: Span): string => `${service}: ${name}`;
export const rootsOf = (spans: readonly Span[]): string[] =>
  spans.filter(({ parentId }) => parentId === '').map(nameOf);
export const servicesOf = (spans: readonly Span[]): string[] =>
  [...new Set(spans.map(({ service }) => service))].sort();

export function orphansOf(spans: readonly Span[]): string[] {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  return spans.filter(({ parentId }) => parentId !== '' && !ids.has(parentId)).map(nameOf);
}

/** `payment.charge done`: every time that a step ran. */
export const stepsOf = (spans: readonly Span[]): string[] =>
  spans
    .filter(({ attributes }) => 'saga.step' in attributes)
    .map(({ attributes }) => `${attributes['saga.step']} ${attributes['saga.outcome']}`)
    .sort();

/** Root, steps, sends and phases: not the statements below them. */
const isOfTheFlow = (span: Span): boolean =>
  span.parentId === '' ||
  'saga.step' in span.attributes ||
  span.name.startsWith('send ') ||
  (span.service === 'coordinator' && span.attributes['db.system.name'] === undefined);

const labelOf = (span: Span): string => {
  const step = span.attributes['saga.step'];
  return step === undefined || step === span.name ? nameOf(span) : `${nameOf(span)} (${step})`;
};

/** Each once, in order of the alphabet. A repeat of a message is the same edge. */
export function edgesOf(spans: readonly Span[]): string[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const edges = spans.filter(isOfTheFlow).flatMap((span) => {
    const parent = byId.get(span.parentId);
    return parent ? [`${labelOf(parent)} → ${labelOf(span)}`] : [];
  });
  return [...new Set(edges)].sort();
}

export type Story = {
  refused?: string;
  /** A person asks for the cancellation before this step has run: it never does. */
  cancelledBefore?: string;
};

export const root = 'gateway: POST /api/orders';
const actionOf = ({ direction, step, undo }: FlowRow) => (direction === 'do' ? step : (undo ?? step));
const processOf = (row: FlowRow) =>
  row.on.startsWith('request:')
    ? `${row.service}: ${actionOf(row)}`
    : `${row.service}: process ${row.on} (${actionOf(row)})`;

/** The edges that the reactions declare for an order of the saga. */
export function sagaEdges({ refused, cancelledBefore }: Story): string[] {
  const edges = new Set<string>();
  const hear = (on: FlowRow['on'], from: string) => {
    for (const row of flow.filter((each) => each.on === on)) {
      edges.add(`${from} → ${processOf(row)}`);
      const isBarred = row.direction === 'do' && row.step === cancelledBefore;
      const event = isBarred
        ? null
        : row.step === refused && row.direction === 'do'
          ? row.saysRefused
          : row.saysDone;
      if (event === null) continue;
      edges.add(`${processOf(row)} → ${row.service}: send ${event}`);
      hear(event, `${row.service}: send ${event}`);
    }
  };
  hear('request:place-order', root);
  if (cancelledBefore !== undefined) hear('request:cancel-order', root);
  return [...edges].sort();
}

export type TransactionStory = {
  asked: readonly string[];
  mode: 'single' | 'grouped';
  /** Who is told, after the decision. */
  told: readonly string[];
  decision: 'commit' | 'abort';
  recovered?: boolean;
};

const transaction = 'coordinator: two-phase commit';

/** The edges that the participants' rows declare for an order of two-phase commit. */
export function transactionEdges(story: TransactionStory): string[] {
  const { asked, mode, told, decision, recovered = false } = story;
  const edges = new Set([`${root} → ${transaction}`]);
  const end = recovered ? `coordinator: recover: ${decision}` : transaction;
  if (recovered) edges.add(`${transaction} → ${end}`);
  else edges.add(`${transaction} → coordinator: decide`);
  for (const name of told) edges.add(`${end} → coordinator: ${decision} ${name}`);
  for (const name of asked) {
    const verb = mode === 'grouped' && !recovered ? 'perform' : 'prepare';
    edges.add(`${transaction} → coordinator: prepare ${name}`);
    const ask = `coordinator: ${verb} ${name}`;
    edges.add(`${transaction} → ${ask}`);
    for (const row of rowsOfBranch(name)) {
      edges.add(`${ask} → ${name}: ${row.step.name}`);
      const event = row.done?.say;
      if (event === undefined) continue;
      edges.add(`${name}: ${row.step.name} → ${name}: send ${event}`);
      // What was said in a branch that is rolled back nobody hears.
      if (decision === 'abort') continue;
      for (const heard of flow.filter(({ on }) => on === event)) {
        edges.add(`${name}: send ${event} → ${processOf(heard)}`);
      }
    }
  }
  return [...edges].sort();
}

const rowsOfBranch = (name: string) =>
  (definitions.find((each) => each.name === name)?.participation ?? []).filter(({ on }) =>
    ['request:branch', 'request:close-branch'].includes(on),
  );
