/**
 * A system that is broken on purpose, in one place. Nothing of it is in the services or libraries: what they do to their
 * tables is undone by triggers in the simulated databases, and what happens around a transaction is composed here.
 */
import type { ServiceName } from '#libs/contracts/events.ts';
import type { Message } from '#libs/nats/publish.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import type { Bus } from './bus.ts';
import type { Store } from './store.ts';

export type Mutant = {
  /** Run in the database of each service before every run. */
  sql?: (service: ServiceName) => readonly string[];
  /** With other rows than the real ones. */
  services?: Partial<Record<ServiceName, ServiceDefinition>>;
  acksBeforeCommit?: true;
  /** What the outbox was to keep: written in a transaction of its own, or sent off at once. */
  outbox?: 'after-commit' | 'sent-at-once';
};

export const sound: Mutant = {};

type Tampered = {
  tx(tx: Tx): Tx;
  /** After the commit, and after whatever crashes there. */
  beforePublish(): Promise<void>;
};

/** Comes between a transaction and its outbox. */
export function tamper({ outbox }: Mutant, bus: Bus, store: Store): Tampered {
  if (!outbox) return { tx: (tx) => tx, beforePublish: async () => {} };
  let kept: Parameters<Tx['send']>[] = [];
  return {
    tx(tx) {
      kept = [];
      const send: Tx['send'] = async (name, text, values) => {
        if (!text.includes('insert into outbox')) return tx.send(name, text, values);
        if (outbox === 'sent-at-once') {
          bus.publish(messageOf(values));
          return tx.send(name, text, values);
        }
        kept.push([name, text, values]);
        return { command: 'INSERT', rows: [] };
      };
      return Object.assign(Object.create(tx), { send }) as Tx;
    },
    async beforePublish() {
      const late = kept;
      kept = [];
      if (late.length > 0) await store.commit((tx) => Promise.all(late.map((one) => tx.send(...one))));
    },
  };
}

function messageOf([messageId, subject, , body]: readonly unknown[]): Message {
  return { messageId, subject, body } as Message;
}
