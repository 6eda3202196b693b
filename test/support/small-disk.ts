/** A directory of a stopped part on a disk of its own that is small enough to be filled. Needs root, on Linux. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether this process may mount: tried, because a container's root may not. */
export function canMount(): boolean {
  const directory = mkdtempSync(join(tmpdir(), 'saga-mount-'));
  try {
    if (!runs('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory)) return false;
    return runs('umount', directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export type SmallDisk = {
  /** Takes what is left of the disk away, and gives it back. */
  fill(): void;
  empty(): void;
  [Symbol.dispose](): void;
};

/** Moves the directory there, with all that it holds, and back at the end. The part must be stopped at both times. */
export function onSmallDisk(directory: string, megabytes: number): SmallDisk {
  const { uid, gid, mode } = statSync(directory);
  const rights = `uid=${uid},gid=${gid},mode=${(mode & 0o777).toString(8)}`;
  const before = `${directory}.before`;
  must('mv', directory, before);
  must('mkdir', directory);
  must('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,${rights}`, 'tmpfs', directory);
  must('cp', '-a', `${before}/.`, directory);
  const ballast = join(directory, 'ballast');
  return {
    fill() {
      const file = openSync(ballast, 'a');
      try {
        for (const bytes of [1024 * 1024, 4096]) writeUntilFull(file, Buffer.alloc(bytes));
      } finally {
        closeSync(file);
      }
    },
    empty: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]() {
      const after = `${directory}.after`;
      must('cp', '-a', directory, after);
      must('umount', '-l', directory);
      must('rm', '-rf', directory, before);
      must('mv', after, directory);
    },
  };
}

function writeUntilFull(file: number, piece: Buffer): void {
  try {
    for (;;) if (writeSync(file, piece) < piece.length) return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

const runs = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0;

function must(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
