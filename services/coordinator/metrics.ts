/** What the coordinator tells beside what every process does: its transactions, its orders, its log. */
import type pg from 'pg';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { FinishedAnswer } from '#libs/contracts/placing.ts';
import { createLooks, type Looks } from '#libs/service/looks.ts';
import { createRegistry, faultsFired, orderMetrics } from '#libs/service/metrics.ts';

export function createMetrics() {
  const registry = createRegistry('coordinator');
  const registers = [registry];
  const looks = createLooks(registry);
  const { orders, orderSeconds } = orderMetrics(registry);
  return {
    looks,
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
    lostDecisions: new Gauge({
      name: 'two_phase_lost_decisions',
      help: 'Transactions that a participant has committed and the decision log does not know',
      registers,
    }),
    faults: faultsFired(registry),

    /** Placed, with its end. A repeated key and what was refused at the door are no orders. */
    countOrder(answer: FinishedAnswer, seconds: number): void {
      const outcome = outcomeOf(answer);
      if (outcome === undefined) return;
      orders.inc({ protocol: '2pc', outcome: 'placed' });
      orders.inc({ protocol: '2pc', outcome });
      orderSeconds.observe('2pc', seconds);
    },
  };
}

/** `cancelled`: a participant refused. `failed`: aborted, or nobody knows yet. */
function outcomeOf(answer: FinishedAnswer): 'dispatched' | 'cancelled' | 'failed' | undefined {
  if ('finished' in answer) return answer.replayed ? undefined : 'dispatched';
  const { code, status } = answer.problem;
  if (code === 'order-refused-by-participant') return 'cancelled';
  return code === 'transaction-aborted' || status >= 500 ? 'failed' : undefined;
}

const rowsMax = 20_000;

/** Transactions that are not over: undecided, or decided and not acknowledged by all. */
export function lookAtLog(looks: Looks, pool: pg.Pool): void {
  const help = {
    two_phase_open_transactions: 'Global transactions that are not over, counted up to 20000',
    two_phase_open_oldest_seconds: 'Age of the oldest of them',
  };
  looks.add('log', help, async () => {
    const { rows } = await pool.query<{ open: number; age: number | null }>({
      name: 'look',
      text: `select count(*)::int as open,
          greatest(0, extract(epoch from clock_timestamp() - min(began_at)))::float8 as age
        from (select began_at from transactions where ended_at is null order by began_at limit $1) as open`,
      values: [rowsMax],
    });
    return {
      two_phase_open_transactions: rows[0]?.open ?? null,
      two_phase_open_oldest_seconds: rows[0]?.age ?? 0,
    };
  });
}
