import { labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { table } from '../format.ts';
import { runningLab } from '../home.ts';
import { type Claim, type Scenario, stageOn } from '../scenarios/scenario.ts';
import { near } from '../suggest.ts';
import { wholeNumber } from '../values.ts';

export const summary =
  'Plays a story on the lab that runs, and says what was seen of what it claims. Exit code 1 when not all was.';
export const positionals = '<name>';
export const options = {
  seconds: {
    type: 'string',
    value: 'n',
    description: 'in-doubt: how long the coordinator stands still (default: 6); deadlock: each mode (10)',
  },
  clients: { type: 'string', value: 'n', description: 'deadlock: orders under way at once (default: 16)' },
} as const satisfies Options;
export const examples = ['npx lab scenario in-doubt', 'npx lab scenario deadlock --seconds 20 --json'];

const scenarios: Readonly<Record<string, () => Promise<Scenario>>> = {
  'in-doubt': () => import('../scenarios/in-doubt.ts'),
  deadlock: () => import('../scenarios/deadlock.ts'),
};

/** Beyond this the deadline of a saga order that waits would cancel it, and the gateway stop waiting. */
const secondsMax = { 'in-doubt': 12, deadlock: 600 } as const;

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [name, ...more] = positionals;
  if (name === undefined || more.length > 0) throw new UsageError(`scenario wants one name: ${known()}`);
  const load = Object.hasOwn(scenarios, name) ? scenarios[name] : undefined;
  if (load === undefined) {
    const [meant] = near(name, Object.keys(scenarios));
    throw new UsageError(
      `No scenario is called '${name}'. ${meant ? `Did you mean ${meant}?` : `There are: ${known()}`}`,
    );
  }
  const max = secondsMax[name as keyof typeof secondsMax];
  const options = {
    seconds: values.seconds === undefined ? undefined : wholeNumber(values.seconds, '--seconds', { max }),
    clients:
      values.clients === undefined ? undefined : wholeNumber(values.clients, '--clients', { max: 512 }),
  };
  const { play, summary } = await load();
  const { url } = runningLab(io.home);
  if (!values.json) io.out(`${name}: ${summary}\n`);
  const stage = stageOn(
    { api: labApi(io.home), home: io.home, url, options },
    values.json ? undefined : io.out,
  );
  const { claims, figures } = await play(stage);
  const isSeen = claims.every(({ seen }) => seen);
  io.out(
    values.json ? JSON.stringify({ scenario: name, seen: isSeen, claims, figures }) : claimsText(claims),
  );
  return isSeen ? 0 : 1;
}

const known = (): string => Object.keys(scenarios).join(', ');

const claimsText = (claims: readonly Claim[]): string =>
  `\n${table(
    claims.map(({ claim, seen }) => [seen ? 'seen' : 'NOT SEEN', claim]),
    '',
  )}`;
