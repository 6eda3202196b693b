/** Messages as the consumer hands them over, without a broker: what becomes of each is written down. */
import { randomUUID } from 'node:crypto';
import type { JsMsg } from '@nats-io/jetstream';
import { headers } from '@nats-io/transport-node';
import type { SagaEvent } from '#libs/contracts/events.ts';
import { type DeliveryOptions, receive } from '#libs/step/delivery.ts';
import { createFailures } from '#libs/step/failures.ts';
import type { DrivenWorld } from './driver.ts';
import type { World } from './world.ts';

export type Post = {
  subject: string;
  body: string;
  messageId: string;
  headers?: Record<string, string>;
};

/** `acknowledged`, or the pause in milliseconds after which it is to come again. */
export type Fate = 'acknowledged' | number;

export type Deliveries = {
  /** One delivery; the first unless it says. */
  deliver(post: Post, delivery?: number): Promise<Fate>;
  /** Until it is acknowledged; how often it was delivered. */
  deliverUntilDone(post: Post, deliveriesMax?: number): Promise<number>;
  deadLetters: string[];
  stuck: { orderId: string; attempts: number }[];
  troubles: string[];
};

export const postOf = (...events: SagaEvent[]): Post => ({
  subject: events[0]?.type ?? '',
  body: JSON.stringify(events),
  messageId: randomUUID(),
});

/** As a process does that has just started: it knows no more than the database. */
export function deliveries(
  { definition, pool }: World,
  { driver }: Pick<DrivenWorld, 'driver'>,
  submit: DeliveryOptions['submit'] = driver.submit,
): Deliveries {
  const deadLetters: string[] = [];
  const stuck: Deliveries['stuck'] = [];
  const troubles: string[] = [];
  const options: DeliveryOptions = {
    reactions: new Map(definition.reactions.map((reaction) => [reaction.on as string, reaction])),
    failures: createFailures({ pool, now: () => new Date(), newId: randomUUID }),
    submit,
    onDeadLetter: (reason) => deadLetters.push(reason),
    onStuck: (_error, orderId, attempts) => stuck.push({ orderId, attempts }),
    onTrouble: (_error, what) => troubles.push(what),
  };

  const deliver = async (post: Post, delivery = 1): Promise<Fate> => {
    const fates: Fate[] = [];
    await receive(messageOf(post, delivery, fates), options);
    const [fate, ...more] = fates;
    if (fate === undefined || more.length > 0) throw new Error(`a message was settled ${fates.length} times`);
    return fate;
  };

  return {
    deliver,
    async deliverUntilDone(post, deliveriesMax = 40) {
      for (let delivery = 1; delivery <= deliveriesMax; delivery++) {
        if ((await deliver(post, delivery)) === 'acknowledged') return delivery;
      }
      throw new Error(`not acknowledged after ${deliveriesMax} deliveries`);
    },
    deadLetters,
    stuck,
    troubles,
  };
}

function messageOf(post: Post, deliveryCount: number, fates: Fate[]): JsMsg {
  const header = headers();
  for (const [name, value] of Object.entries(post.headers ?? {})) header.set(name, value);
  header.set('Nats-Msg-Id', post.messageId);
  return {
    subject: post.subject,
    headers: header,
    info: { deliveryCount },
    time: new Date(),
    string: () => post.body,
    ack: () => void fates.push('acknowledged'),
    nak: (ms: number) => void fates.push(ms),
  } as unknown as JsMsg;
}
