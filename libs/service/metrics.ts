/** Prometheus metrics (https://prometheus.io/docs/practices/naming/): base units, no order ids in labels. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { createTally } from './tally.ts';

/** From a batch on a fast disk to a lock timeout. */
const stepSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const orderSeconds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** What every process tells. */
export function createRegistry(service: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** What is told of orders, by whoever sees them end: the order service for the saga, else the coordinator. */
export function orderMetrics(registry: Registry) {
  return {
    orders: new Counter({
      name: 'saga_orders_total',
      help: 'Orders by what became of them: placed, and then one end',
      labelNames: ['protocol', 'outcome'],
      registers: [registry],
    }),
    orderSeconds: createTally(registry, {
      name: 'saga_order_seconds',
      help: 'From the request to the end of an order, of those without an Idempotency-Key',
      label: 'protocol',
      buckets: orderSeconds,
    }),
  };
}

export function faultsFired(registry: Registry) {
  return new Counter({
    name: 'saga_faults_fired_total',
    help: 'Injected faults that fired',
    labelNames: ['point', 'action'],
    registers: [registry],
  });
}

export function createMetrics(service: string) {
  const registry = createRegistry(service);
  const registers = [registry];
  return {
    registry,
    ...orderMetrics(registry),
    steps: new Counter({
      name: 'saga_steps_total',
      help: 'Steps and undos by what became of them',
      labelNames: ['step', 'outcome'],
      registers,
    }),
    stepSeconds: createTally(registry, {
      name: 'saga_step_seconds',
      help: 'From taking an event or request in, to the commit of its step or undo; the saga only',
      label: 'step',
      buckets: stepSeconds,
    }),
    batchSize: new Histogram({
      name: 'saga_batch_size',
      help: 'Causes that one transaction handled',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
      registers,
    }),
    retries: new Counter({
      name: 'saga_retries_total',
      help: 'Messages that came again, because an attempt failed or whoever had it died',
      registers,
    }),
    lockHold: new Counter({
      name: 'saga_lock_hold_seconds_total',
      help: 'For how long the rows of orders were locked here, summed over orders',
      labelNames: ['protocol'],
      registers,
    }),
    inquiries: new Counter({
      name: 'two_phase_inquiries_total',
      help: 'Branches in doubt that were ended because the coordinator was asked',
      labelNames: ['decision'],
      registers,
    }),
    waiting: new Gauge({ name: 'saga_waiting', help: 'Causes waiting for a transaction', registers }),
    waitingForRows: new Gauge({
      name: 'saga_waiting_for_rows',
      help: 'Causes set aside because somebody else holds a row that they need',
      registers,
    }),
    outboxFull: new Gauge({
      name: 'saga_outbox_full',
      help: '1 while nothing new is taken in, because too much waits to be published',
      registers,
    }),
    relayed: new Counter({
      name: 'saga_outbox_relayed_total',
      help: 'Messages that the relay published because nobody else had',
      registers,
    }),
    forgotten: new Counter({
      name: 'saga_outbox_forgotten_total',
      help: 'Messages that the broker had acknowledged and lost; they are published again',
      registers,
    }),
    consumerFaulty: new Gauge({
      name: 'saga_consumer_faulty',
      help: '1 while the durable consumer is missing, or stands beyond the end of the stream',
      registers,
    }),
    deadLetters: new Counter({ name: 'saga_dead_letters_total', help: 'Events dead-lettered', registers }),
    stuck: new Counter({
      name: 'saga_stuck_undos_total',
      help: 'Attempts of an undo past its limit; it is retried all the same',
      registers,
    }),
    faults: faultsFired(registry),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
