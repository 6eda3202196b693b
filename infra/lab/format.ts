/** What the commands print for a person: short, aligned, in whole lines. */
import type { TimelineItem } from '#libs/contracts/orders.ts';

const paisePerRupee = 100;

/** `₹240.00`, with the digits grouped as in India. */
export const rupees = (paise: number): string =>
  `₹${(paise / paisePerRupee).toLocaleString('en-IN', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[], indent = '  '): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) => indent + line(row, widths)).join('\n');
}

const timelineHead = ['at', 'service', 'step', 'outcome', 'event', 'try', 'reason'];
/** Fixed, because a line is printed before the next one is known: the longest name of each column fits. */
const timelineWidths = [3, 12, 30, 8, 28, 3, 0];

export const timelineHeader = (): string => line(timelineHead, timelineWidths);

/** One line of an order's story; `at` is the saga's logical clock, not a time. */
export function timelineLine(item: TimelineItem): string {
  const { lamport, service, step, outcome, type, attempt, reason } = item;
  return line(
    [String(lamport), service, step, outcome, type ?? '-', String(attempt), reason ?? ''],
    timelineWidths,
  );
}

function line(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => cell.padEnd(widths[column] ?? 0))
    .join('  ')
    .trimEnd();
}
