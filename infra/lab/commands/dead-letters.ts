import {
  type DeadLetter,
  type LetterState,
  letterStates,
  type Replayed,
} from '#libs/contracts/dead-letters.ts';
import { serviceNames } from '#libs/contracts/events.ts';
import { readAdminToken } from '../admin-token.ts';
import { type LabApi, labApi } from '../api.ts';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import {
  discardLetter,
  letterLine,
  letterText,
  readLetter,
  readLetters,
  readStuck,
  replayLetter,
  stuckLine,
} from '../dead-letters.ts';
import { LabError } from '../errors.ts';
import { oneOf } from '../values.ts';

export const summary =
  'Shows what could not be handled, and undos that are stuck. Replays a dead letter, or puts it away.';
export const positionals = '[list | show <id> | replay <id …> | discard <id …>]';
export const options = {
  service: { type: 'string', value: 'name', description: 'only those of this service' },
  state: { type: 'string', value: 'state', description: 'open (default), replayed, discarded' },
  all: { type: 'boolean', description: 'list: of every state. replay, discard: all that are open' },
} as const satisfies Options;
export const examples = [
  'npx lab dead-letters',
  'npx lab dead-letters show payment:01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11',
  'npx lab dead-letters replay --all --service payment   # after the cause is removed',
];

type Values = Arguments<typeof options>['values'];
type Action = 'replay' | 'discard';

export async function run({ values, positionals }: Arguments<typeof options>, io: Io): Promise<number> {
  const [action = 'list', ...ids] = positionals;
  if (values.service !== undefined) oneOf(values.service, '--service', serviceNames);
  const state = values.state === undefined ? 'open' : oneOf(values.state, '--state', letterStates);
  if (action === 'list') {
    if (ids.length > 0) throw new UsageError('list takes no ids; see: npx lab dead-letters show <id>');
    return list(labApi(io.home), state, values, io);
  }
  if (values.state !== undefined) throw new UsageError('--state goes with the list');
  if (action === 'show') {
    const [id, ...more] = ids;
    if (id === undefined || more.length > 0 || values.all) throw new UsageError('show wants one id');
    const letter = await readLetter(labApi(io.home), id);
    io.out(values.json ? JSON.stringify(letter) : letterText(letter));
    return 0;
  }
  if (action !== 'replay' && action !== 'discard') {
    throw new UsageError(`dead-letters knows list, show, replay and discard, not '${action}'`);
  }
  const isNamed = ids.length > 0;
  if (isNamed === (values.all === true)) throw new UsageError(`${action} wants ids, or --all`);
  return settle(action, ids, values, io);
}

async function list(api: LabApi, state: LetterState, values: Values, io: Io): Promise<number> {
  const { service, all, json } = values;
  const [letters, stuck] = await Promise.all([
    readLetters(api, { service, state: all ? 'all' : state }),
    readStuck(api),
  ]);
  const undos = stuck.items.filter((undo) => service === undefined || undo.service === service);
  const missing = [...new Set([...letters.missing, ...stuck.missing])];
  if (json) io.out(JSON.stringify({ items: letters.items, stuck: undos, missing }));
  else {
    if (letters.items.length === 0) io.out(`there is no ${all ? '' : `${state} `}dead letter`);
    for (const letter of letters.items) io.out(letterLine(letter));
    if (undos.length > 0) io.out(`\nstuck, and retried for ever:\n${undos.map(stuckLine).join('\n')}`);
  }
  if (missing.length > 0) io.err(`could not be asked: ${missing.join(', ')}`);
  return 0;
}

/** One after another, the oldest first. One that fails again does not keep the others from their turn. */
async function settle(action: Action, named: readonly string[], values: Values, io: Io): Promise<number> {
  const api = labApi(io.home);
  const headers = { authorization: `Bearer ${readAdminToken(io.home)}` };
  const { service, all, json } = values;
  const open = all ? (await readLetters(api, { service, state: 'open' })).items : [];
  const ids = all ? open.map(({ id }) => id).reverse() : named;
  let failures = 0;
  for (const id of ids) {
    try {
      const letter: DeadLetter & Partial<Replayed> =
        action === 'replay' ? await replayLetter(api, id, headers) : await discardLetter(api, id, headers);
      const effects = letter.effects ? ` (${letter.effects.join(', ')})` : '';
      io.out(json ? JSON.stringify(letter) : `${id}: ${letter.state}${effects}`);
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      failures += 1;
      if (json) io.out(JSON.stringify({ id, error: error.message }));
      else io.err(`${id}: ${error.message}`);
    }
  }
  if (ids.length === 0 && !json) io.out('there is no open dead letter');
  return failures > 0 ? 1 : 0;
}
