import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** `sync_interval: always`, without which an acknowledged message can be lost in a power cut, came with 2.10. */
const versionMin = [2, 10] as const;
/**
 * Of a node of a cluster. Replicas of a stream on 2.10.27 came to hold different messages under the same sequences when
 * the node that led it was killed, and whoever read from the wrong one missed some (docs/scaling.md).
 */
const clusterVersionMin = [2, 12] as const;

export const versionMinOf = (isCluster: boolean) => (isCluster ? clusterVersionMin : versionMin);

const versionWithinMs = 5_000;
const run = promisify(execFile);

/** Runs the program: a binary of another platform or a broken download must not get as far as being started. */
export async function checkedVersion(path: string, isCluster: boolean): Promise<string> {
  const { stdout } = await run(path, ['--version'], { timeout: versionWithinMs, env: {} });
  const [, text = '', major = 0, minor = 0] = /v?((\d+)\.(\d+)\.[\w.-]+)/.exec(stdout) ?? [];
  const least = versionMinOf(isCluster);
  const [majorMin, minorMin] = least;
  const isEnough = Number(major) > majorMin || (Number(major) === majorMin && Number(minor) >= minorMin);
  if (isEnough) return text;
  throw new Error(`version ${text || 'unknown'} is too old, ${least.join('.')} is needed`);
}
