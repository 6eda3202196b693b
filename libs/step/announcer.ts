/**
 * Tells the dead-letter stream what was set aside. The row is the letter; the message is for whoever listens to the
 * broker, and it may come late: a letter is safe whether the broker is there or not. Also forgets what is long past.
 */
import type pg from 'pg';
import type { ServiceName } from '#libs/contracts/events.ts';
import type { Publish } from '#libs/nats/publish.ts';
import { deadLetterAgeMsMax } from '#libs/nats/streams.ts';
import { columns, statement } from '#libs/postgres/statement.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { repeat } from './repeat.ts';

const tickMs = 1_000;
const lettersMax = 50;
const forgetEveryTicks = 600;
const forgetRowsMax = 1_000;
/** Below the broker's 1 MB, however many bytes a character takes, and the headers with it. */
const bodyCharsMax = 300_000;
/** Of what came with the message. The whole of it is in the letter. */
const headerBytesMax = 32_000;
const messageIdCharsMax = 1_000;
/** Before all ids. */
const firstId = '00000000-0000-0000-0000-000000000000';

type Letter = {
  id: string;
  subject: string;
  messageId: string;
  headers: Record<string, string>;
  traceparent: string | null;
  body: string;
  reason: string;
  attempts: number;
};

export function startAnnouncer(options: {
  service: ServiceName;
  pool: pg.Pool;
  publish: Publish;
  now(): Date;
  onTrouble(error: unknown, what: string): void;
}): { stop(): Promise<void> } {
  const { service, pool, publish, now, onTrouble } = options;
  let tick = 0;
  /** Goes round: those that the broker does not take are passed over until all others have had their turn. */
  let after = firstId;

  /**
   * Holds no row while the broker is asked, which may be away: an operator would wait for it. Two replicas may tell the
   * same letter; the broker knows it by its message id.
   */
  const announce = async () => {
    const letters = await runThenCommit(pool, (tx) => selectUnannounced(tx, after, lettersMax));
    after = (letters.length === lettersMax && letters.at(-1)?.id) || firstId;
    const told = await Promise.allSettled(letters.map((letter) => tell(service, publish, letter)));
    const stored = letters.filter((_, index) => told[index]?.status === 'fulfilled');
    if (stored.length > 0) {
      await runThenCommit(pool, (tx) => markAnnounced(tx, ...columns(stored, ['id', 'attempts']), now()));
    }
    const refused = told.find((each) => each.status === 'rejected');
    if (refused) onTrouble(refused.reason, 'dead letters are not in the stream yet');
  };

  return repeat({
    pauseMs: tickMs,
    onTrouble: (error) => onTrouble(error, 'dead letters are told later'),
    async work() {
      tick += 1;
      await announce();
      if (tick % forgetEveryTicks !== 0) return;
      const before = new Date(now().getTime() - deadLetterAgeMsMax);
      await runThenCommit(pool, (tx) => forgetOld(tx, before, forgetRowsMax));
    },
  });
}

/** What came with the message stands under a prefix: the broker acts on some names, such as `Nats-Msg-Id`. */
async function tell(service: ServiceName, publish: Publish, letter: Letter): Promise<void> {
  const { id, subject, body, reason, attempts, messageId, traceparent, headers } = letter;
  // What was just small enough as a message may not be as one with more headers.
  const whole = body.length <= bodyCharsMax ? body : JSON.stringify([body.slice(0, bodyCharsMax / 4)]);
  await publish(
    { messageId: `${id}-${attempts}`, subject: `dead-letter.${service}`, body: whole },
    {
      ...keptOf(headers),
      'Saga-Letter': `${service}:${id}`,
      'Saga-Reason': plain(reason),
      'Saga-Subject': subject,
      'Saga-Attempts': String(attempts),
      'Saga-Message-Id': plain(messageId.slice(0, messageIdCharsMax)),
      ...(traceparent === null ? {} : { traceparent }),
    },
  );
}

/** Those that there is room for, from the first one on. */
function keptOf(headers: Record<string, string>): Record<string, string> {
  const kept: Record<string, string> = {};
  let left = headerBytesMax;
  for (const [name, value] of Object.entries(headers)) {
    const bytes = name.length + value.length;
    if (bytes > left) continue;
    left -= bytes;
    kept[`Saga-Original-${name.replaceAll(/[^\w-]/g, '_')}`] = plain(value);
  }
  return kept;
}

const plain = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?');

const selectUnannounced = statement<Letter>(`
  select id, subject, message_id as "messageId", headers, traceparent, body, reason, attempts from failures
  where state = 'open' and announced_at is null and id > $1 order by id limit $2`);

/** Not those that have failed once more meanwhile: that is news again. */
const markAnnounced = statement(`
  update failures f set announced_at = $3 from unnest($1::uuid[], $2::int[]) as told (id, attempts)
  where f.id = told.id and f.attempts = told.attempts`);

/** As long as the stream keeps them. What is still retried is somebody's money: it stays until it succeeds. */
const forgetOld = statement(`
  delete from failures where id in (
    select id from failures where state <> 'retrying' and last_at < $1 limit $2 for update skip locked)`);
