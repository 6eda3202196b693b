/** Programs that the lab runs and does not bring along: their pinned releases, as they were published. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export type Release = {
  version: string;
  baseUrl: string;
  /** By `<platform>-<arch>` of Node: the name in the archive, and the SHA-256 of the archive. */
  archives: Record<string, { name: string; sha256: string }>;
};

const answerWithinMs = 4_000;
const downloadWithinMs = 120_000;
const run = promisify(execFile);

/**
 * Downloads `<baseUrl>/v<version>/<prefix><archive name>.tar.gz` and unpacks it into the directory; refused
 * when it is not byte for byte the one that was published. Gives the folder that it held.
 */
export async function unpackRelease(
  { version, baseUrl }: Release,
  { prefix, archive }: { prefix: string; archive: Release['archives'][string] },
  directory: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const folder = `${prefix}${archive.name}`;
  const bytes = await download(`${baseUrl}/v${version}/${folder}.tar.gz`, signal);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== archive.sha256) {
    throw new Error(`checksum mismatch, refused (wanted ${archive.sha256}, got ${sha256})`);
  }
  await writeFile(join(directory, 'archive.tar.gz'), bytes);
  await run('tar', ['-xzf', 'archive.tar.gz'], { cwd: directory });
  return join(directory, folder);
}

/** A network without a way out often drops packets silently, so the first byte has a short limit of its own. */
async function download(url: string, given: AbortSignal | undefined): Promise<Buffer> {
  const abort = new AbortController();
  given?.addEventListener('abort', () => abort.abort(), { once: true });
  const noAnswer = setTimeout(() => abort.abort(), answerWithinMs);
  const tooSlow = setTimeout(() => abort.abort(), downloadWithinMs);
  try {
    const response = await fetch(url, { signal: abort.signal });
    clearTimeout(noAnswer);
    if (!response.ok) throw new Error(`the download answered ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  } catch (error) {
    if (abort.signal.aborted) throw new Error('the download did not answer in time', { cause: error });
    if (error instanceof TypeError) throw new Error('the download site cannot be reached', { cause: error });
    throw error;
  } finally {
    clearTimeout(noAnswer);
    clearTimeout(tooSlow);
  }
}

/** Whether there is a Go here; without one this way has nothing to offer, which is no failure. */
export const hasGo = (env: NodeJS.ProcessEnv): Promise<boolean> =>
  run('go', ['version'], { env }).then(
    () => true,
    () => false,
  );

/** The messages of apt and go name the mirror, which is nobody's business in a log that is shown around. */
export function withoutHosts(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const plain = text.replace(/\b[a-z]+:\/\/[^\s'"]+/g, '<url>').split('\n');
  return (
    plain.find((line) => /^E:|error|fail/i.test(line) && !line.startsWith('Command failed')) ??
    plain[0] ??
    ''
  ).slice(0, 200);
}
