/** Why the lab refused or gave up. The message is for a person; the code is for tests and for `--json`. */
export type LabErrorCode =
  | 'home-in-use'
  | 'home-not-writable'
  | 'home-other-broker'
  | 'port-taken'
  | 'part-not-ready'
  | 'part-unknown'
  | 'links-off'
  | 'link-unknown'
  | 'broker-missing'
  | 'broker-refused'
  | 'postgres-missing'
  | 'postgres-refused'
  | 'not-running'
  | 'not-reachable'
  | 'request-refused'
  | 'interrupted';

/** An expected failure: its message says what to do, so that commands print it without a stack. */
export class LabError extends Error {
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'LabError';
    this.code = code;
  }
}

/** The code of a system error (`ENOENT`, `ESRCH`, …), or undefined when the value is something else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
