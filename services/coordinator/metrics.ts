import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

export function createMetrics() {
  const registry = new Registry();
  registry.setDefaultLabels({ service: 'coordinator' });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    transactions: new Counter({
      name: 'two_phase_transactions_total',
      help: 'Global transactions by how they ended',
      labelNames: ['mode', 'outcome'],
      registers,
    }),
    groupSize: new Histogram({
      name: 'two_phase_group_size',
      help: 'Orders of one global transaction',
      labelNames: ['mode'],
      buckets: [1, 2, 4, 8, 16, 32, 64, 128],
      registers,
    }),
    recovered: new Counter({
      name: 'two_phase_recovered_total',
      help: 'Transactions that recovery finished',
      labelNames: ['decision'],
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
