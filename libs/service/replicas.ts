/**
 * The replicas of a service, as those who call it see them: a list of addresses, or all that stand behind one DNS name.
 * Calls are spread over them; one that is away is left out for a moment, and found again by trying it.
 *
 * A call that failed may be made again elsewhere in two cases only, and the caller says which: `unsent`, when no
 * connection came about, so that nobody can have seen it; `always`, when doing it twice does no harm.
 */
import { hash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { Pool } from 'undici';
import { idleMsMax } from './lame-duck.ts';

export type Repeat = 'unsent' | 'always';

export type Replica = {
  readonly origin: string;
  readonly pool: Pool;
  /** Milliseconds of this process's clock; 0 for those that were there from the start. */
  readonly joinedAt: number;
};

export type Answer = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
};

export type Replicas = {
  all(): readonly Replica[];
  /** In the order in which to try them, another one first every time. */
  spread(): readonly Replica[];
  /**
   * In the order in which to try them for this key: rendezvous hashing (Thaler & Ravishankar 1998), so that everybody
   * who asks for a key asks the same replica while it lives, and nobody has to remember which. One that joined after
   * `bornAt`, or was away then or since, comes last, also when it is back: it cannot know what was begun meanwhile.
   */
  of(key: string, bornAt?: number): readonly Replica[];
  /** Makes the call at the first of these that is there; at the next when it failed and `repeat` allows it. */
  inTurn<T>(
    candidates: readonly Replica[],
    repeat: Repeat,
    call: (replica: Replica, hasNext: boolean) => Promise<T>,
  ): Promise<T>;
  /** One request and its whole answer, whatever its status is. */
  request(request: ReplicaRequest): Promise<Answer>;
  close(): Promise<void>;
};

export type ReplicaRequest = {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: Buffer | string | null;
  repeat: Repeat;
  /** For all tries together. */
  withinMs: number;
  /** Asked first; whose turn it is, otherwise. */
  first?: Replica;
};

export type ReplicasOptions = {
  /** One origin or several, with commas between. */
  urls: string;
  /** Each origin's name stands for many addresses, and they come and go. */
  resolve: boolean;
  /** To each of them. */
  connectionsMax: number;
  /** Injected by tests. */
  addressesOf?: (hostname: string) => Promise<readonly string[]>;
  lookUpEveryMs?: number;
};

/** A process that is away refuses at once; a machine that is away does not answer at all. */
const connectMsMax = 2_000;
const goneMs = 1_000;
/** One that stood still is asked last for so long. */
const lateMs = 2_000;
/** A read is answered far sooner: after that the next one is asked. */
const patienceMs = 5_000;
const lookUpEveryMsDefault = 3_000;

type Member = Replica & { goneUntil: number; lateUntil: number };

export function createReplicas(options: ReplicasOptions): Replicas {
  const { urls, resolve, connectionsMax, addressesOf = allAddresses } = options;
  const origins = urls.split(',').map((url) => new URL(url.trim()).origin);
  let members = origins.map((origin) => join(origin, 0));
  let turn = 0;

  function join(origin: string, joinedAt: number): Member {
    const pool = new Pool(origin, {
      connections: connectionsMax,
      connect: { timeout: connectMsMax },
      keepAliveTimeout: idleMsMax,
      // Whatever the server says that it would allow.
      keepAliveMaxTimeout: idleMsMax,
    });
    return { origin, pool, joinedAt, goneUntil: 0, lateUntil: 0 };
  }

  const lookUp = async (joinedAt: number) => {
    const found = await Promise.all(origins.map((origin) => resolved(origin, addressesOf)));
    // A name that nobody answers to just now says nothing about those who are there.
    if (found.some((addresses) => addresses.length === 0)) return;
    const wanted = new Set(found.flat());
    const left = members.filter(({ origin }) => !wanted.has(origin));
    const known = new Map(members.map((member) => [member.origin, member]));
    members = [...wanted].sort().map((origin) => known.get(origin) ?? join(origin, joinedAt));
    // What is under way there comes to its end.
    for (const { pool } of left) void pool.close().catch(() => {});
  };
  let looking = resolve ? lookUp(0) : Promise.resolve();
  const again = setInterval(() => {
    // An address that is none leaves the list as it was.
    looking = looking.then(() => lookUp(Date.now())).catch(() => {});
  }, options.lookUpEveryMs ?? lookUpEveryMsDefault).unref();
  if (!resolve) clearInterval(again);

  /** Those that are known to be away stay in the list: when nobody else is left, they are worth a try. */
  const inOrder = (ranked: readonly Member[], penalty: (member: Member) => number): readonly Member[] =>
    ranked.length === 1 ? ranked : ranked.toSorted((a, b) => penalty(a) - penalty(b));

  const replicas: Replicas = {
    all: () => members,

    spread() {
      turn = (turn + 1) % members.length;
      const now = Date.now();
      const ranked = [...members.slice(turn), ...members.slice(0, turn)];
      return inOrder(ranked, ({ goneUntil, lateUntil }) => (goneUntil > now ? 2 : lateUntil > now ? 1 : 0));
    },

    of(key, bornAt = Number.POSITIVE_INFINITY) {
      if (members.length === 1) return members;
      const now = Date.now();
      const weights = new Map(members.map((member) => [member, hash('sha1', `${member.origin} ${key}`)]));
      const ranked = members.toSorted((a, b) => ((weights.get(a) ?? '') < (weights.get(b) ?? '') ? -1 : 1));
      return inOrder(ranked, ({ goneUntil, joinedAt }) => {
        return goneUntil > now ? 2 : Math.max(goneUntil, joinedAt) > bornAt ? 1 : 0;
      });
    },

    async inTurn(candidates, repeat, call) {
      for (const [index, replica] of candidates.entries()) {
        const hasNext = index < candidates.length - 1;
        try {
          return await call(replica, hasNext);
        } catch (error) {
          const unsent = isUnsent(error);
          const member = replica as Member;
          if (unsent) member.goneUntil = Date.now() + goneMs;
          else member.lateUntil = Date.now() + lateMs;
          if (!hasNext || (repeat === 'unsent' && !unsent)) throw error;
        }
      }
      throw new Error('there is no replica to ask');
    },

    request({ method, path, headers, body = null, repeat, withinMs, first }) {
      const spread = replicas.spread();
      const candidates = first ? [first, ...spread.filter((each) => each !== first)] : spread;
      const deadline = AbortSignal.timeout(withinMs);
      return replicas.inTurn(candidates, repeat, async ({ pool }, hasNext) => {
        const isPatient = !hasNext || repeat === 'unsent';
        const answer = await pool.request({
          method: method as 'GET',
          path,
          body,
          ...(headers ? { headers } : {}),
          signal: isPatient ? deadline : AbortSignal.any([deadline, patience(withinMs)]),
        });
        const bytes = Buffer.from(await answer.body.arrayBuffer());
        return { status: answer.statusCode, headers: answer.headers, body: bytes };
      });
    },

    async close() {
      clearInterval(again);
      await looking;
      await Promise.all(members.map(({ pool }) => pool.close()));
    },
  };
  return replicas;
}

/** So that there is time left for the next one. */
const patience = (withinMs: number) => AbortSignal.timeout(Math.min(patienceMs, withinMs / 2));

/** Of a call that waited for its turn at a replica that does not answer. */
export const notSentCode = 'NOT_SENT';

const unsentCodes = new Set([
  notSentCode,
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_CLOSED',
]);

/** Whether nobody can have seen the request, because there was no connection to send it on. */
export const isUnsent = (error: unknown): boolean =>
  unsentCodes.has(String((error as { code?: unknown } | null)?.code ?? ''));

async function resolved(
  origin: string,
  addressesOf: NonNullable<ReplicasOptions['addressesOf']>,
): Promise<string[]> {
  const url = new URL(origin);
  try {
    const addresses = await addressesOf(url.hostname);
    return addresses.map((address) => {
      const host = address.includes(':') ? `[${address}]` : address;
      return `${url.protocol}//${host}${url.port === '' ? '' : `:${url.port}`}`;
    });
  } catch {
    return []; // Told apart by nobody: a name server that is away and a service without replicas.
  }
}

const allAddresses = async (hostname: string): Promise<string[]> =>
  (await lookup(hostname, { all: true })).map(({ address }) => address);
