/** The HTTP API of the lab that runs, as the commands use it: parsed answers, and refusals as one error. */
import type { Problem } from '#libs/contracts/problems.ts';
import { LabError } from './errors.ts';
import { runningLab } from './home.ts';

export type ProblemBody = ReturnType<Problem['toBody']>;
export type Answer<Body> = { status: number; headers: Headers; body: Body };
export type RequestOptions = { body?: unknown; headers?: Record<string, string> };

export type LabApi = {
  /** Where traces can be read, when a Jaeger was found. */
  jaegerUrl: string | null;
  /** Resolves with an answer below 400. Anything else is thrown: RequestRefused, or LabError without an answer. */
  request<Body>(method: string, path: string, options?: RequestOptions): Promise<Answer<Body>>;
};

/** The lab answered no: its problem (RFC 9457), told for a person, kept whole for `--json`. */
export class RequestRefused extends LabError {
  readonly problem: ProblemBody;

  constructor(problem: ProblemBody) {
    const fields = (problem.errors ?? []).map(({ field, message }) => `\n  ${field}: ${message}`);
    const detail = 'detail' in problem ? `: ${problem.detail}` : '';
    super(
      'request-refused',
      `${problem.title}${detail} (${problem.status} ${problem.code})${fields.join('')}`,
    );
    this.problem = problem;
  }
}

/** Longer than the longest answer: a check may read for a minute. */
const answerMsMax = 70_000;

export function labApi(home: string): LabApi {
  const { url, jaegerUrl } = runningLab(home);
  return {
    jaegerUrl,
    async request<Body>(method: string, path: string, { body, headers = {} }: RequestOptions = {}) {
      const response = await fetch(new URL(path, url), {
        method,
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(answerMsMax),
      }).catch((cause: Error) => {
        throw new LabError(
          'not-reachable',
          `${url} does not answer (${cause.message}). See: npx lab status`,
          {
            cause,
          },
        );
      });
      const answered = await read(response, url);
      if (response.ok) return { status: response.status, headers: response.headers, body: answered as Body };
      throw new RequestRefused(answered as ProblemBody);
    },
  };
}

async function read(response: Response, url: string): Promise<unknown> {
  if (response.status === 204) return null;
  if (response.headers.get('content-type')?.includes('json')) return response.json();
  throw new LabError('not-reachable', `${url} answered ${response.status} in no form that a lab uses`);
}
