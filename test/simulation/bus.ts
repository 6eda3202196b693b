/**
 * A broker of which nothing can be relied upon but that what it stored is delivered at least once: in any order, twice,
 * late. It recognises no repeat either: the real one does, but only for two minutes.
 */
import type { JsMsg } from '@nats-io/jetstream';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Message } from '#libs/nats/publish.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';

/** A message on its way to one service. */
export type Delivery = { service: ServiceName; message: Message; deliveries: number };

export type Bus = {
  /** In the order in which they would come if nothing went wrong. */
  pending: Delivery[];
  /** Late: they come once nothing else is pending. */
  held: Delivery[];
  /** Ids of all messages that were ever stored. */
  stream: Set<string>;
  publish(message: Message): void;
};

export function createBus(services: Readonly<Record<ServiceName, ServiceDefinition>>): Bus {
  const bus: Bus = {
    pending: [],
    held: [],
    stream: new Set(),
    publish(message) {
      bus.stream.add(message.messageId);
      for (const service of serviceNames) {
        const hears = services[service].reactions.some(({ on }) => on === message.subject);
        if (hears) bus.pending.push({ service, message, deliveries: 0 });
      }
    },
  };
  return bus;
}

/** A delivery in the hand of a service, as the broker's client shows it. */
export type InHand = { delivery: Delivery; message: JsMsg; isAcked: boolean };

export function handOver(delivery: Delivery): InHand {
  delivery.deliveries += 1;
  const { subject, body } = delivery.message;
  const inHand: InHand = {
    delivery,
    isAcked: false,
    message: {
      subject,
      seq: 0,
      info: { deliveryCount: delivery.deliveries },
      time: new Date(),
      json: () => JSON.parse(body),
      string: () => body,
      ack() {
        inHand.isAcked = true;
      },
      // A process that lives can put it back; one that crashed has nothing left to put back.
      nak() {
        inHand.isAcked = false;
      },
    } as unknown as JsMsg,
  };
  return inHand;
}
