/** docs/choreography.md: who says what, and who reacts, drawn and listed from the reaction rows. */
import { type EventType, eventTypeNames, eventTypes, serviceNames } from '#libs/contracts/events.ts';
import { actionOf, type Chain, chains, type FlowRow, flow, happyPath } from './flow.ts';
import { code, page, table } from './markdown.ts';

export function choreography(): string {
  return page(
    '# The choreography',
    'No service knows this page: each knows its own rows (`services/*/reactions.ts`), and the page is made from all of them.',
    '## The whole flow',
    'A slanted box is a request, a box a step, one with rounded ends an undo. A full arrow is what is said when it is done, a dotted one what is said when it is refused.',
    ['```mermaid', ...diagram(), '```'].join('\n'),
    '## An order that goes well',
    story(happyPath()),
    '## The ways back',
    'Each service undoes its own step and passes the word on, the last step first. An undo that finds nothing to undo succeeds, bars the late step, and passes on.',
    ...[...Map.groupBy(chains(), ({ event }) => event)].map(([event, same]) => wayBack(event, same)),
    '## Every event',
    table(['event', 'said by', 'who reacts, and how', 'which says'], eventTypeNames.flatMap(rowsOf)),
  );
}

function diagram(): string[] {
  const groups = serviceNames.flatMap((service) => {
    const rows = flow.filter((row) => row.service === service);
    const nodes = new Map(rows.map((row) => [actionOf(row), node(row)]));
    return [`  subgraph ${service}`, ...[...nodes.values()].map((line) => `    ${line}`), '  end'];
  });
  const requests = [...new Set(flow.map(({ on }) => on).filter((on) => on.startsWith('request:')))];
  return [
    'flowchart LR',
    ...requests.map((request) => `  ${id(request)}[/${request.slice('request:'.length)}/]`),
    ...groups,
    ...new Set(flow.flatMap(arrowsTo)),
  ];
}

const node = (row: FlowRow): string =>
  row.direction === 'do'
    ? `${id(actionOf(row))}[${actionOf(row)}]`
    : `${id(actionOf(row))}([${actionOf(row)}])`;
const id = (name: string): string => name.replaceAll(/[^a-z]/g, '_');

/** The arrows that lead to this row: from the request, or from every row that says what it hears. */
function arrowsTo(row: FlowRow): string[] {
  const to = id(actionOf(row));
  if (row.on.startsWith('request:')) return [`  ${id(row.on)} --> ${to}`];
  return flow.flatMap((from) => [
    ...(from.saysDone === row.on ? [`  ${id(actionOf(from))} -->|${row.on}| ${to}`] : []),
    ...(from.saysRefused === row.on ? [`  ${id(actionOf(from))} -.->|${row.on}| ${to}`] : []),
  ]);
}

function story(rows: readonly FlowRow[]): string {
  const lines = rows.map((row) => {
    return `${code(actionOf(row))} on ${code(row.on)}${row.saysDone === null ? '' : ` says ${code(row.saysDone)}`}`;
  });
  return lines.map((line, index) => `${index + 1}. ${line}`).join('\n');
}

function wayBack(event: EventType, same: readonly Chain[]): string {
  const causes = same.map(({ from }) =>
    from.on.startsWith('request:') ? `${code(from.on)} asks for it` : `${code(from.step)} is refused`,
  );
  return [`### ${event}`, `When ${causes.join(' or ')}:`, story(same[0]?.undos ?? [])].join('\n\n');
}

function rowsOf(type: EventType): string[][] {
  const sayers = [
    ...new Set(
      flow
        .filter((row) => row.saysDone === type || row.saysRefused === type)
        .map((row) => `${code(actionOf(row))}${row.saysRefused === type ? ' (refused)' : ''}`),
    ),
  ].join(', ');
  const hearers = flow.filter(({ on }) => on === type);
  if (hearers.length === 0) return [[code(type), sayers || eventTypes[type].source, 'nobody: an end', '']];
  return hearers.map((row, index) => [
    index === 0 ? code(type) : '',
    index === 0 ? sayers : '',
    `${row.direction === 'undo' ? 'undo: ' : ''}${code(actionOf(row))}`,
    [row.saysDone, row.saysRefused].flatMap((said) => (said === null ? [] : [code(said)])).join(' or ') ||
      'nothing',
  ]);
}
