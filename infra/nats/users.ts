/**
 * Who may say and hear what on the broker, as data. From these rows come users.conf, users-faults.conf and
 * docs/broker-users.md (`npm run generate`), and the tests in test/security ask a broker that runs with them.
 *
 * Each user has an account of its own, which shares nothing with the others. The streams stand in admin's, and what
 * a row says is exported from there and imported here: so also an answer of the broker, which it sends to whatever
 * subject the asker names, reaches nothing but what the asker may do itself (docs/decisions/0017).
 *
 * One right is given to nobody but admin, because it leads out of these walls: to make a consumer. It has messages
 * delivered to any subject of the account in which the streams stand.
 */
import { eventTypes, type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import { inboxPrefixOf } from '#libs/nats/address.ts';
import {
  activeFaultsSubject,
  eventStream,
  faultBucket,
  faultStream,
  faultsSubject,
  storedEventsPrefix,
} from '#libs/nats/streams.ts';

/** What somebody may do, and what for. */
export type Grant = {
  may: 'publish' | 'subscribe';
  subjects: readonly string[];
  why: string;
  /** Only where faults are on: users-faults.conf. */
  faults?: true;
};

export type BrokerUser = {
  name: string;
  account: string;
  /** Absent: everything. */
  grants?: readonly Grant[];
};

export const adminName = 'admin';
/** Of admin and of all streams: the only one with JetStream. */
export const streamAccount = 'DATA';
/** The config variable, and the environment variable, that holds a user's password. */
export const passwordVariable = (user: string): string => `${user.toUpperCase()}_NATS_PASSWORD`;

const accountOf = (user: string): string => user.toUpperCase();

const api = '$JS.API';

/** Everybody asks and is answered on an inbox of its own. It stands in the user's account: nothing is imported. */
const ownInbox = (user: string): Grant => ({
  may: 'subscribe',
  subjects: [`${inboxPrefixOf(user)}.>`],
  why: 'hears the answers to what it asked, and to nothing else',
});

/** Heard by plain subscription, read from the stream's leader: no consumer is needed. */
const hearsFaults: readonly Grant[] = [
  { may: 'subscribe', subjects: [faultsSubject], why: 'hears at once that the faults changed', faults: true },
  {
    may: 'publish',
    subjects: [`${api}.STREAM.MSG.GET.${faultStream}`],
    why: 'reads the faults',
    faults: true,
  },
  {
    may: 'publish',
    subjects: [`$KV.${faultBucket}.hits.*`],
    why: 'counts how often a fault fired',
    faults: true,
  },
];

function service(name: ServiceName): BrokerUser {
  const saysEvents = Object.values(eventTypes).some(({ source }) => source === name);
  const says: Grant[] = saysEvents
    ? [{ may: 'publish', subjects: [`${name}.>`], why: 'says its own events' }]
    : [];
  const consumer = `${eventStream}.${name}`;
  return {
    name,
    account: accountOf(name),
    grants: [
      ownInbox(name),
      ...says,
      { may: 'publish', subjects: [`dead-letter.${name}`], why: 'sets aside what it cannot handle' },
      {
        may: 'publish',
        subjects: [`${api}.CONSUMER.INFO.${consumer}`, `${api}.CONSUMER.MSG.NEXT.${consumer}`],
        why: 'reads its own durable consumer',
      },
      {
        may: 'publish',
        subjects: [`${api}.STREAM.INFO.${eventStream}`],
        why: 'sees whether the stream still has what it acknowledged',
      },
      {
        may: 'publish',
        // The second form names the domain (none: _) and the account; brokers from 2.15 on may ask for it.
        subjects: [`$JS.ACK.${consumer}.>`, `$JS.ACK._.*.${consumer}.>`],
        why: 'acknowledges what it has read',
      },
      ...hearsFaults,
    ],
  };
}

/** Reads everything, says nothing. */
const gateway: BrokerUser = {
  name: 'gateway',
  account: accountOf('gateway'),
  grants: [
    ownInbox('gateway'),
    {
      may: 'subscribe',
      subjects: [`${storedEventsPrefix}.>`],
      why: 'hears events as they are stored: the end of an order that somebody waits for, and `GET /api/events`',
    },
    {
      may: 'publish',
      subjects: ['INFO', 'MSG.GET'].map((verb) => `${api}.STREAM.${verb}.${eventStream}`),
      why: 'reads what was stored before, and for the checker',
    },
    {
      may: 'publish',
      // What is read comes as it was said, to where the gateway wants it: somewhere that it may say things itself.
      subjects: [`${api}.DIRECT.GET.${eventStream}`],
      why: 'reads the whole stream for the checker, many messages at a time',
    },
    { may: 'publish', subjects: [activeFaultsSubject], why: 'sets the faults', faults: true },
    ...hearsFaults,
  ],
};

/** Needs no broker but for faults. */
const coordinator: BrokerUser = {
  name: 'coordinator',
  account: accountOf('coordinator'),
  grants: [ownInbox('coordinator'), ...hearsFaults],
};

export const brokerUsers: readonly BrokerUser[] = [
  ...serviceNames.map(service),
  coordinator,
  gateway,
  { name: adminName, account: streamAccount },
];
