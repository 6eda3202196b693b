/** docs/fault-matrix.md: the rows of fault-rows.ts, for people. */
import { type FaultRow, faultRows } from './fault-rows.ts';
import { code, page, table } from './markdown.ts';

export function faultMatrixPage(): string {
  const rows = faultRows.map(({ id, what, how, fired, rules, tests }) => {
    const files = [...new Set(tests.map(([file]) => file))];
    return [id, what, how, fired, rules, files.map(code).join('<br>')];
  });
  return page(
    '# The fault matrix',
    `What can break, and the tests that break it. Every test proves that its fault was met. Those on a whole lab heal it,
wait until all is quiet, and then run the whole checker; those in \`test/step\` and \`test/security\` look at one part, on
a real database or broker. The rules named here are those that the row is about. The words are those of
[faults.md](faults.md) and [outside-faults.md](outside-faults.md). The rows stand in \`infra/generate/fault-rows.ts\`; a
unit test looks for the tests that they name, whose titles begin with the row.`,
    `\`npm run test:faults\` runs them all; \`npm test\`, for its time, those in \`test/step\` and most of those in \`test/journeys\`.`,
    table(['row', 'what breaks', 'how', 'what shows that it did', 'rules', 'tests'], rows),
    '## What stands in for something else',
    table(['row', 'why, and what'], faultRows.flatMap(standInOf)),
  );
}

const standInOf = ({ id, standIn }: FaultRow): string[][] => (standIn === undefined ? [] : [[id, standIn]]);
