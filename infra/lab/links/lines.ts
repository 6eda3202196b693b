/** Links as a table for people. */
import type { Link, LinkMode } from '#libs/contracts/parts.ts';
import { table } from '../format.ts';

export function linkLines(links: readonly Link[]): string {
  const rows = links.map(({ client, server, mode, hits, resets, connections, bytesUp, bytesDown }) => [
    client,
    server,
    modeText(mode),
    ...[hits, resets, connections, bytesUp, bytesDown].map(String),
  ]);
  const head = ['client', 'server', 'mode', 'hits', 'resets', 'open', 'bytes up', 'bytes down'];
  return table([head, ...rows], '');
}

function modeText(mode: LinkMode): string {
  switch (mode.mode) {
    case 'latency':
      return `latency ${mode.ms} ms${mode.jitterMs > 0 ? ` + ${mode.jitterMs}` : ''}`;
    case 'slow':
      return `slow ${mode.bytesPerSecond} bytes/s`;
    case 'slice':
      return `slice ${mode.bytes} bytes`;
    case 'drop-answers':
      return `drop-answers ${mode.after} (${mode.end})`;
    default:
      return mode.mode;
  }
}
