/** docs/problems.md: every error of the HTTP API, and which routes answer with it. */
import { apiRoutes, commonProblems } from '#libs/contracts/api.ts';
import { type ProblemCode, problems } from '#libs/contracts/problems.ts';
import { code, page, table } from './markdown.ts';

const codes = (Object.keys(problems) as ProblemCode[]).sort(
  (a, b) => problems[a].status - problems[b].status || (a < b ? -1 : 1),
);

export function problemsPage(): string {
  return page(
    '# Problems',
    'Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem: `application/problem+json` with `type`, `title`, `status` and a registered `code`, which is the contract; `detail` and `errors` (a field and a message each) are for people. The registry is `libs/contracts/problems.ts`.',
    table(
      ['status', 'code', 'title', 'who answers with it'],
      codes.map((name) => [String(problems[name].status), code(name), problems[name].title, answerers(name)]),
    ),
  );
}

/** More routes than this are told as a kind. */
const routesShownMax = 4;

function answerers(name: ProblemCode): string {
  if (commonProblems.includes(name)) return 'any route';
  const routes = apiRoutes.filter(({ problems: own }) => own.includes(name));
  if (routes.length > routesShownMax) return 'every route with parameters';
  if (apiRoutes.every((route) => (route.body !== undefined) === routes.includes(route))) {
    return 'every route with a body';
  }
  return routes.map(({ method, path }) => code(`${method} ${path}`)).join(', ') || 'none yet';
}
