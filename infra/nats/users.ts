/**
 * Who may say and hear what on the broker, as data. From these rows come users.conf, users-faults.conf and
 * docs/broker-users.md (`npm run generate`), and the tests in test/security ask a broker that runs with them.
 *
 * Two rights that look harmless are given to nobody but admin. DIRECT.GET sends a stored message as it is to any
 * subject that the asker names for the answer: with it, whoever may write anything at all says what another
 * service says. Making a consumer has messages delivered to inboxes of others, in any number; only the gateway
 * has it, for the stream of events, which an answer cannot be sent back to under another name.
 */
import { eventTypes, type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import { inboxPrefixOf } from '#libs/nats/address.ts';
import {
  activeFaultsSubject,
  deadLetterStream,
  eventStream,
  faultBucket,
  faultStream,
  faultsSubject,
} from '#libs/nats/streams.ts';

/** What somebody may do, and what for. */
export type Grant = {
  may: 'publish' | 'subscribe';
  subjects: readonly string[];
  /** Taken out of `subjects` again. */
  except?: readonly string[];
  why: string;
  /** Only where faults are on: users-faults.conf. */
  faults?: true;
};

export type BrokerUser = {
  name: string;
  /** Absent: everything. */
  grants?: readonly Grant[];
};

export const adminName = 'admin';
/** The config variable, and the environment variable, that holds a user's password. */
export const passwordVariable = (user: string): string => `${user.toUpperCase()}_NATS_PASSWORD`;

const api = '$JS.API';

/** Everybody asks and is answered on an inbox of its own. */
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

const durables = (verb: string): string[] =>
  serviceNames.map((name) => `${api}.CONSUMER.${verb}.${eventStream}.${name}`);

/** Reads everything, says nothing. Its consumers are ephemeral and its own; it may not ask for the services'. */
const gateway: BrokerUser = {
  name: 'gateway',
  grants: [
    ownInbox('gateway'),
    {
      may: 'subscribe',
      subjects: ['order.dispatched', 'order.cancelled'],
      why: 'hears the end of an order that somebody waits for',
    },
    { may: 'publish', subjects: [`${api}.STREAM.INFO.${eventStream}`], why: 'knows where the stream ends' },
    {
      may: 'publish',
      subjects: ['CREATE', 'INFO', 'MSG.NEXT', 'DELETE'].map(
        (verb) => `${api}.CONSUMER.${verb}.${eventStream}.*`,
      ),
      except: ['CREATE', 'MSG.NEXT', 'DELETE'].flatMap(durables),
      why: 'reads events for `GET /api/events` and for the checker, with consumers of its own',
    },
    {
      may: 'publish',
      subjects: ['INFO', 'MSG.GET'].map((verb) => `${api}.STREAM.${verb}.${deadLetterStream}`),
      why: 'shows dead letters',
    },
    { may: 'publish', subjects: [activeFaultsSubject], why: 'sets the faults', faults: true },
    ...hearsFaults,
  ],
};

/** Needs no broker but for faults. */
const coordinator: BrokerUser = { name: 'coordinator', grants: [ownInbox('coordinator'), ...hearsFaults] };

export const brokerUsers: readonly BrokerUser[] = [
  ...serviceNames.map(service),
  coordinator,
  gateway,
  { name: adminName },
];
