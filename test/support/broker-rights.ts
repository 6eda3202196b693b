/** What a user of the broker is let do, found out by doing it: the broker itself answers, not our table. */
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { eventTypeNames, eventTypes, serviceNames } from '#libs/contracts/events.ts';
import { inboxPrefixOf, readNatsUrl } from '#libs/nats/address.ts';
import { activeFaultsSubject, faultsSubject, storedEventsPrefix } from '#libs/nats/streams.ts';
import { brokerUsers } from '../../infra/nats/users.ts';

export type Attempt = { may: 'publish' | 'subscribe'; subject: string };

const connectWithinMs = 3_000;

export const openAs = (url: string): Promise<NatsConnection> =>
  connect({ ...readNatsUrl(url), timeout: connectWithinMs, reconnect: false });

/** Those of the attempts that the broker let pass. */
export async function permitted(url: string, attempts: readonly Attempt[]): Promise<string[]> {
  const connection = await openAs(url);
  const refused = new Set<string>();
  const listening = (async () => {
    for await (const status of connection.status()) {
      if (status.type !== 'error') continue;
      const found = /Violation for (Publish|Subscription) to "([^"]+)"/i.exec(status.error.message);
      if (found) refused.add(`${found[1] === 'Publish' ? 'publish' : 'subscribe'} ${found[2]}`);
    }
  })();
  try {
    for (const { may, subject } of attempts) {
      // The empty object is what most of the broker's API takes for "nothing in particular".
      if (may === 'publish') connection.publish(subject, '{}', { headers: headers() });
      else connection.subscribe(subject, { callback: () => {} });
      // A refusal comes before the answer to the ping that this sends.
      await connection.flush();
    }
  } finally {
    await connection.close();
    await listening;
  }
  return attempts.map(({ may, subject }) => `${may} ${subject}`).filter((attempt) => !refused.has(attempt));
}

const streams = ['EVENTS', 'DEAD_LETTERS', 'KV_faults'];
const api = '$JS.API';

/** What nobody but admin may do, whoever asks. */
const forEverybody: readonly Attempt[] = [
  ...[
    ...streams.flatMap((stream) => [
      ...['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE', 'PEER.REMOVE'].map(
        (verb) => `${api}.STREAM.${verb}.${stream}`,
      ),
      `${api}.DIRECT.GET.${stream}.payment.completed`,
      `${api}.CONSUMER.CREATE.${stream}`,
      `${api}.CONSUMER.CREATE.${stream}.spy.payment.>`,
      `${api}.CONSUMER.DURABLE.CREATE.${stream}.spy`,
      `${api}.CONSUMER.LIST.${stream}`,
      `${api}.STREAM.LEADER.STEPDOWN.${stream}`,
    ]),
    `${api}.STREAM.CREATE.MINE`,
    `${api}.STREAM.LIST`,
    `${api}.META.LEADER.STEPDOWN`,
    `${api}.SERVER.REMOVE`,
    ...streams.map((stream) => `${api}.CONSUMER.CREATE.${stream}.spy`),
    ...serviceNames.flatMap((name) => [
      ...['CREATE', 'DELETE', 'PAUSE', 'RESET', 'UNPIN', 'LEADER.STEPDOWN'].map(
        (verb) => `${api}.CONSUMER.${verb}.EVENTS.${name}`,
      ),
      `${api}.CONSUMER.DURABLE.CREATE.EVENTS.${name}`,
      `${api}.CONSUMER.CREATE.EVENTS.${name}.payment.>`,
    ]),
    faultsSubject,
    `$KV.faults.other`,
    '$SYS.REQ.SERVER.PING',
    '_INBOX.anybody',
  ].map((subject): Attempt => ({ may: 'publish', subject })),
  ...[
    '>',
    '*.>',
    '*.*',
    'order.>',
    'payment.>',
    'dead-letter.>',
    '$KV.>',
    `${api}.>`,
    '$JS.ACK.>',
    '$JS.EVENT.ADVISORY.>',
    '$SYS.>',
    '_INBOX.>',
    '_INBOX_*.>',
  ].map((subject): Attempt => ({ may: 'subscribe', subject })),
];

/** What this one may not do, because it is for another. */
export function foreignTo(user: string): Attempt[] {
  const others = brokerUsers.map(({ name }) => name).filter((name) => name !== user);
  const foreign = serviceNames.filter((name) => name !== user);
  const published = [
    ...eventTypeNames.filter((type) => eventTypes[type].source !== user),
    ...foreign.flatMap((name) => [
      `dead-letter.${name}`,
      `${api}.CONSUMER.MSG.NEXT.EVENTS.${name}`,
      `$JS.ACK.EVENTS.${name}.1.1.1.1.0`,
      `$JS.ACK._.hash.EVENTS.${name}.1.1.1.1.0`,
    ]),
    ...others.map((name) => `${inboxPrefixOf(name)}.x`),
    ...(user === 'gateway'
      ? []
      : [activeFaultsSubject, `${api}.STREAM.MSG.GET.EVENTS`, `${api}.DIRECT.GET.EVENTS`]),
    ...['DEAD_LETTERS', 'KV_faults'].map((stream) => `${api}.DIRECT.GET.${stream}`),
    ...(user === 'coordinator' ? [`${api}.STREAM.INFO.EVENTS`] : []),
    ...['INFO', 'MSG.GET'].map((verb) => `${api}.STREAM.${verb}.DEAD_LETTERS`),
  ];
  const heard = [
    ...eventTypeNames,
    ...(user === 'gateway' ? [] : [`${storedEventsPrefix}.>`]),
    ...others.map((name) => `${inboxPrefixOf(name)}.>`),
  ];
  return [
    ...forEverybody,
    ...published.map((subject): Attempt => ({ may: 'publish', subject })),
    ...heard.map((subject): Attempt => ({ may: 'subscribe', subject })),
  ];
}

/** What no process may do where faults are off. */
export const faultAttempts: readonly Attempt[] = [
  { may: 'subscribe', subject: faultsSubject },
  ...[activeFaultsSubject, '$KV.faults.hits.x', `${api}.STREAM.MSG.GET.KV_faults`].map(
    (subject): Attempt => ({ may: 'publish', subject }),
  ),
];

/** One attempt for each subject of a user's rows. */
export function granted(user: string, withFaults: boolean): Attempt[] {
  const grants = brokerUsers.find(({ name }) => name === user)?.grants ?? [];
  return grants
    .filter(({ faults }) => withFaults || !faults)
    .flatMap(({ may, subjects }) =>
      subjects.map((subject) => {
        // What is listened to may hold wildcards; what is said may not.
        const said = subject.replace(/>$/, 'x').replaceAll('*', 'x');
        return { may, subject: may === 'publish' ? said : subject };
      }),
    );
}
