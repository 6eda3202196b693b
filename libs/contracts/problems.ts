/**
 * Every error that the HTTP API can answer with, once (RFC 9457 `application/problem+json`). The code is
 * the contract; the detail is for people. Documented in docs/problems.md, which is generated from here.
 */
export const problems = {
  'invalid-request': { status: 400, title: 'The request does not fit its schema' },
  'invalid-json': { status: 400, title: 'The body is not JSON' },
  'invalid-url': { status: 400, title: 'The URL is malformed' },
  'invalid-cursor': { status: 400, title: 'The cursor is not one of ours' },
  'invalid-idempotency-key': { status: 400, title: 'The Idempotency-Key is not usable' },
  'unknown-dish': { status: 422, title: 'No such dish is on the menu' },
  'unknown-city': { status: 422, title: 'We do not deliver to that city' },
  'unknown-fault-point': { status: 422, title: 'No fault point has that name' },
  'order-too-large': { status: 422, title: 'The order costs more than an order may' },
  'idempotency-key-reused': { status: 422, title: 'That Idempotency-Key was used with another body' },
  'idempotency-key-in-flight': { status: 409, title: 'A request with that Idempotency-Key is in flight' },
  'order-refused': { status: 422, title: 'The order was refused at the door' },
  'order-already-dispatched': { status: 409, title: 'The order is dispatched and cannot be cancelled' },
  'not-found': { status: 404, title: 'There is nothing here' },
  'request-timeout': { status: 408, title: 'The request did not arrive in time' },
  'headers-too-large': { status: 431, title: 'The headers are too large' },
  'method-not-allowed': { status: 405, title: 'That method is not allowed here' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'unsupported-media-type': { status: 415, title: 'The body must be application/json' },
  'forbidden-origin': { status: 403, title: 'Only an operator may do that, and not from there' },
  'faults-off': { status: 403, title: 'Fault injection is off' },
  'faults-changed': { status: 412, title: 'Somebody else changed the faults meanwhile' },
  'no-launcher': { status: 501, title: 'No launcher runs here that could do that to a process' },
  'links-off': { status: 409, title: 'This lab was started without links' },
  'part-not-running': { status: 409, title: 'That part is not running' },
  'part-answers': {
    status: 409,
    title: 'That is the gateway that answers: ask another one, or the command line',
  },
  'order-refused-by-participant': {
    status: 409,
    title: 'A participant refused the order; nothing of it stands',
  },
  'transaction-aborted': { status: 503, title: 'The transaction was given up; nothing of it stands' },
  undecided: { status: 409, title: 'The transaction is not decided yet' },
  'ended-otherwise': { status: 409, title: 'The branch has ended the other way' },
  'admin-token-required': {
    status: 403,
    title: 'Only an operator may do that: the admin token is missing or wrong',
  },
  'confirmation-differs': { status: 422, title: 'The confirmation is not the gid' },
  'replay-failed': { status: 409, title: 'It failed again, and stays a dead letter' },
  'letter-replayed': { status: 409, title: 'The dead letter was replayed and cannot be discarded' },
  'too-many-requests': { status: 429, title: 'Too many requests' },
  'service-unavailable': { status: 503, title: 'A part of the lab cannot be reached' },
  overloaded: { status: 503, title: 'Too much is waiting here already', retryAfterS: 2 },
  'internal-error': { status: 500, title: 'Something is wrong on our side' },
} as const satisfies Record<string, { status: number; title: string; retryAfterS?: number }>;

export type ProblemCode = keyof typeof problems;
export type FieldError = { field: string; message: string };

/** For the header `Retry-After`: when it may go better, of problems that pass by themselves. */
export const retryAfterS = (code: ProblemCode): number | undefined =>
  (problems[code] as { retryAfterS?: number }).retryAfterS;

export const problemContentType = 'application/problem+json';

/** An answer that is not a success. Thrown in routes, turned into problem+json in one place. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly errors: FieldError[];
  /** What the problem is about, as RFC 9457 has it: a path of this API. */
  readonly instance: string | undefined;
  constructor(
    code: ProblemCode,
    detail?: string,
    options: { errors?: FieldError[]; cause?: unknown; instance?: string } = {},
  ) {
    super(detail ?? problems[code].title, { cause: options.cause });
    this.name = 'Problem';
    this.code = code;
    this.errors = options.errors ?? [];
    this.instance = options.instance;
  }

  get status(): number {
    return problems[this.code].status;
  }

  toBody() {
    const { status, title } = problems[this.code];
    const detail = this.message === title ? {} : { detail: this.message };
    const errors = this.errors.length > 0 ? { errors: this.errors } : {};
    const instance = this.instance ? { instance: this.instance } : {};
    return {
      type: `/problems/${this.code}`,
      title,
      status,
      code: this.code,
      ...detail,
      ...instance,
      ...errors,
    };
  }
}
