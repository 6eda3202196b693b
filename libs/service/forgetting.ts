/** How a service says that the broker has forgotten something: in its log and in its metrics. */
import type { Logger } from 'pino';
import { type EventType, eventTypeNames, eventTypes, type ServiceName } from '#libs/contracts/events.ts';
import type { StreamWatchOptions } from '#libs/step/stream-watch.ts';
import type { Metrics } from './metrics.ts';

type Told = Pick<StreamWatchOptions, 'onForgotten' | 'onConsumer'>;

export function tellForgetting(metrics: Metrics, log: Logger): Told {
  return {
    onForgotten(messages) {
      metrics.forgotten.inc(messages);
      log.error({ messages }, 'the broker has lost what it acknowledged; it is published again');
    },
    onConsumer(fault) {
      metrics.consumerFaulty.set(fault === null ? 0 : 1);
      if (fault === null) log.info('the consumer is well again');
      else
        log.error({ fault }, 'the consumer does not stand where the stream does; the keeper makes it again');
    },
  };
}

/** What it publishes on: the events that are its to say. */
export const subjectsOf = (service: ServiceName): EventType[] =>
  eventTypeNames.filter((type) => eventTypes[type].source === service);
