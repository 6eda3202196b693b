/** Systems that are broken in one place each, and the rule that must notice. */
import type { ServiceName } from '#libs/contracts/events.ts';
import { undoes } from '#libs/step/reaction.ts';
import { order } from '#services/order/service.ts';
import { place } from '#services/order/step.ts';
import type { Mutant } from './mutant.ts';

export type Broken = {
  name: string;
  mutant: Mutant;
  /** The damage, where a rule about the books alone would notice as well. */
  caughtBy: string;
};

/** What is written stays for the statement that writes it, and is gone with its end. */
const forget = (when: string): string[] => [
  `create function forget() returns trigger language plpgsql as $$ begin
     delete from journal where order_id = new.order_id and step = new.step and direction = new.direction;
     return null;
   end $$`,
  `create trigger forget after insert on journal for each row when (${when}) execute function forget()`,
];

/** Before a step is claimed: as if it had never run. What an undo needs to know is there again after it. */
const forgetWhatRan = [
  `create function forget() returns trigger language plpgsql as $$ begin
     delete from journal where order_id = new.order_id and step = new.step and direction = 'do' and outcome = 'done';
     return new;
   end $$`,
  `create trigger forget before insert on journal
     for each row when (new.direction = 'do' and new.outcome = 'done') execute function forget()`,
];

/** The business tables' own keys would stop a second effect: the journal is to be looked at alone. */
const withoutKeys: Partial<Record<ServiceName, string[]>> = {
  payment: ['alter table payments drop constraint payments_pkey'],
  inventory: ['alter table reservations drop constraint reservations_pkey'],
  logistics: ['alter table assignments drop constraint assignments_pkey'],
  notification: ['alter table notifications drop constraint notifications_order_id_kind_pk'],
};

export const mutants: readonly Broken[] = [
  {
    name: 'barrier off: an undo that found nothing does not bar the step',
    mutant: { sql: () => forget(`new.outcome = 'barred'`) },
    caughtBy: 'I3',
  },
  {
    name: 'undo without a marker: it does not know that it ran',
    mutant: { sql: () => forget(`new.direction = 'undo'`) },
    caughtBy: 'I1',
  },
  {
    name: 'ack before commit',
    mutant: { acksBeforeCommit: true },
    caughtBy: 'I12',
  },
  {
    name: 'journal ignored: a step that ran runs again',
    mutant: {
      sql: (service) => (service === 'order' ? [] : [...(withoutKeys[service] ?? []), ...forgetWhatRan]),
    },
    caughtBy: 'I1',
  },
  {
    name: 'outbox row in a transaction of its own, after the step',
    mutant: { outbox: 'after-commit' },
    caughtBy: 'I12',
  },
  {
    name: 'published before it is committed',
    mutant: { outbox: 'sent-at-once' },
    caughtBy: 'I6',
  },
  {
    name: 'outbox row marked as published when it is written',
    mutant: {
      sql: () => [
        `create function mark() returns trigger language plpgsql as $$ begin
           new.published_at := new.created_at; return new;
         end $$`,
        'create trigger mark before insert on outbox for each row execute function mark()',
      ],
    },
    caughtBy: 'I6',
  },
  {
    name: 'compensation in the wrong order: the order ends before its payment is back',
    mutant: { services: { order: { ...order, reactions: endsEarly() } } },
    caughtBy: 'I1',
  },
];

/** Cancelled at the release of the stock, and deaf to the refund. */
function endsEarly() {
  const others = order.reactions.filter(({ on }) => on !== 'payment.refunded');
  return [...others, undoes({ on: 'inventory.released', step: place, say: 'order.cancelled' })];
}
