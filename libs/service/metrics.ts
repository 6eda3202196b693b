/** Prometheus metrics (https://prometheus.io/docs/practices/naming/): base units, no order ids in labels. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export function createMetrics(service: string) {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    steps: new Counter({
      name: 'saga_steps_total',
      help: 'Steps and undos by what became of them',
      labelNames: ['step', 'outcome'],
      registers,
    }),
    batchSize: new Histogram({
      name: 'saga_batch_size',
      help: 'Causes that one transaction handled',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
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
    relayed: new Counter({
      name: 'saga_outbox_relayed_total',
      help: 'Messages that the relay published because nobody else had',
      registers,
    }),
    deadLetters: new Counter({ name: 'saga_dead_letters_total', help: 'Events dead-lettered', registers }),
    stuck: new Counter({
      name: 'saga_stuck_undos_total',
      help: 'Attempts of an undo past its limit; it is retried all the same',
      registers,
    }),
    faults: new Counter({
      name: 'saga_faults_fired_total',
      help: 'Injected faults that fired',
      labelNames: ['point', 'action'],
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
