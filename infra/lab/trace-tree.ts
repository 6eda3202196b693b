/** A trace as text: the tree that Jaeger draws, for a terminal, a log or a page of the docs. */
export type TraceSpan = {
  spanId: string;
  /** Empty for a root. */
  parentId: string;
  service: string;
  name: string;
  startUs: number;
  durationUs: number;
  attributes: Record<string, string>;
};

/** Jaeger's query API: `GET /api/traces/<id>`. */
export type JaegerAnswer = {
  data: {
    spans: {
      spanID: string;
      operationName: string;
      references: { refType: string; spanID: string }[];
      startTime: number;
      duration: number;
      processID: string;
      tags: { key: string; value: unknown }[];
    }[];
    processes: Record<string, { serviceName: string }>;
  }[];
};

export const traceSpansOf = ({ data }: JaegerAnswer): TraceSpan[] =>
  data.flatMap(({ spans, processes }) =>
    spans.map(({ spanID, operationName, references, startTime, duration, processID, tags }) => ({
      spanId: spanID,
      parentId: references.find(({ refType }) => refType === 'CHILD_OF')?.spanID ?? '',
      service: processes[processID]?.serviceName ?? '?',
      name: operationName,
      startUs: startTime,
      durationUs: duration,
      attributes: Object.fromEntries(tags.map(({ key, value }) => [key, String(value)])),
    })),
  );

const isStatement = ({ attributes }: TraceSpan) =>
  'db.system.name' in attributes || 'db.system' in attributes;

/** Lines, each parent before its children, these in the order of their start. A span that is there twice is one. */
export function traceTree(spans: readonly TraceSpan[], { statements }: { statements: boolean }): string[] {
  const shown = [...new Map(spans.toReversed().map((span) => [span.spanId, span])).values()]
    .filter((span) => statements || !isStatement(span))
    .sort((a, b) => a.startUs - b.startUs);
  const ids = new Set(shown.map(({ spanId }) => spanId));
  const roots = shown.filter(({ parentId }) => !ids.has(parentId));
  const zeroUs = shown[0]?.startUs ?? 0;
  const rows: string[][] = [['span', 'service', 'at ms', 'took ms', '']];
  const add = (span: TraceSpan, before: string, branch: string, indent: string) => {
    const lost = span.parentId !== '' && !ids.has(span.parentId) ? '?? ' : '';
    const [at, took] = [span.startUs - zeroUs, span.durationUs].map((us) => (us / 1_000).toFixed(1));
    rows.push([`${before}${branch}${lost}${span.name}`, span.service, at ?? '', took ?? '', noteOf(span)]);
    const children = shown.filter(({ parentId }) => parentId === span.spanId);
    children.forEach((child, index) => {
      const isLast = index === children.length - 1;
      add(child, before + indent, isLast ? '└ ' : '├ ', isLast ? '  ' : '│ ');
    });
  };
  for (const root of roots) add(root, '', '', '');
  return aligned(rows);
}

/** What happened there, in a few words. */
function noteOf({ name, attributes }: TraceSpan): string {
  const said = (key: string) => attributes[key];
  const step = said('saga.step');
  const attempt = Number(said('saga.attempt') ?? 1);
  const words = [
    step === undefined || step === name ? undefined : step,
    said('saga.outcome'),
    said('saga.reason') && `(${said('saga.reason')})`,
    attempt > 1 ? `attempt ${attempt}` : undefined,
    said('two_phase.vote') && `vote ${said('two_phase.vote')}`,
    said('two_phase.decision'),
    said('two_phase.outcome'),
    said('two_phase.state'),
    said('saga.retold') === 'true' ? 'told again' : undefined,
    said('http.response.status_code'),
  ];
  return words.filter(Boolean).join(' ');
}

function aligned(rows: readonly string[][]): string[] {
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map(([name = '', service = '', at = '', took = '', note = '']) => {
    const [forName = 0, forService = 0, forAt = 0, forTook = 0] = widths;
    const cells = [
      name.padEnd(forName),
      service.padEnd(forService),
      at.padStart(forAt),
      took.padStart(forTook),
    ];
    return `${cells.join('  ')}  ${note}`.trimEnd();
  });
}
