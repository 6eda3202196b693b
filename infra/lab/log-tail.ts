import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { systemCode } from './errors.ts';

const bytesMax = 4_000;
const linesMax = 12;

/** The last lines of a log, indented; '' when there is none. */
export function logTail(file: string): string {
  let handle: number | undefined;
  try {
    handle = openSync(file, 'r');
    const size = fstatSync(handle).size;
    const buffer = Buffer.alloc(Math.min(size, bytesMax));
    readSync(handle, buffer, 0, buffer.length, size - buffer.length);
    const lines = buffer.toString('utf8').trimEnd().split('\n').slice(-linesMax);
    return lines.map((line) => `  ${line}`).join('\n');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
