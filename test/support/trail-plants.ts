/** Violations of an order's story to plant: in its trace, in its causes, and between the journals and the stream. */
import { randomUUID, randomUUIDv7 } from 'node:crypto';
import type { SagaEvent } from '#libs/contracts/events.ts';
import type { Bus } from './bus.ts';
import { entry, type Plant } from './plants.ts';
import { write } from './write.ts';

/** Of the stream, and heard by nobody. */
const unheard = 'order.planted';
const otherTrace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';

/** To be put back. */
let kept = '';

export const plantsOfTrails = (good: () => string, bad: () => string, bus: () => Bus): Plant[] => {
  /** The story's own first event, as the outbox holds it, changed. */
  const firstOf = async (orderId: string, change: Partial<SagaEvent> = {}): Promise<SagaEvent> => {
    const [row] = await write(
      'order',
      `select one from outbox, json_array_elements(body::json) one
       where subject = 'order.placement.requested' and one ->> 'subject' = $1`,
      [orderId],
    );
    return { ...row?.one, ...change };
  };
  /** In a message that is called a repeat of one that was committed: I6 has nothing against it. */
  const tell = async (event: SagaEvent) => {
    const [row] = await write('order', 'select message_id from outbox limit 1');
    await bus().publish(unheard, JSON.stringify([event]), `${row?.message_id}/${randomUUID()}`);
  };
  /** A step that journal and stream agree about. */
  const tellAndNote = async (change: Partial<SagaEvent>) => {
    const first = await firstOf(good());
    const event = await firstOf(good(), {
      ...{ id: randomUUIDv7(), type: 'order.confirmed', data: { city: 'pune' }, lamport: 90 },
      ...{ causationid: first.id, ...change },
    });
    await write('order', `${withEvent()} values ($1, 'order.planted', 'do', 'done', $2, $3, $4, $5, 1, $6)`, [
      ...[event.subject, event.id, event.type, event.lamport, event.causationid, event.time],
    ]);
    await tell(event);
  };
  const forget = async () => {
    await write('order', `delete from journal where step = 'order.planted'`);
    await bus().clean();
  };
  const setNotified = (cause: string) =>
    write(
      'notification',
      `update journal set causation_id = $2 where order_id = $1 and step = 'notification.notify-dispatched'`,
      [good(), cause],
    );

  return [
    {
      rule: 'I13',
      name: 'an order of another trace than its events',
      about: good,
      async plant() {
        const [row] = await write('order', 'select traceparent from orders where order_id = $1', [good()]);
        kept = row?.traceparent;
        await setTrace(good(), otherTrace);
      },
      uproot: () => setTrace(good(), kept),
    },
    {
      rule: 'I13',
      name: 'a failure that was noted in another trace',
      about: good,
      plant: () =>
        write(
          'payment',
          `insert into failures (id, fingerprint, state, order_id, traceparent, subject, message_id, headers, body,
                                 reason, attempts, first_at, last_at)
           values ($1, 'planted', 'discarded', $2, $3, 'x', 'x', '{}', '', '', 1, now(), now())`,
          [randomUUIDv7(), good(), otherTrace],
        ),
      uproot: () => write('payment', `delete from failures where fingerprint = 'planted'`),
    },
    {
      rule: 'I13',
      name: 'an event whose cause nobody said',
      about: good,
      plant: () => tellAndNote({ causationid: randomUUIDv7() }),
      uproot: forget,
    },
    {
      rule: 'I13',
      name: 'an event that another order caused',
      about: good,
      plant: async () => tellAndNote({ causationid: (await firstOf(bad())).id }),
      uproot: forget,
    },
    {
      rule: 'I13',
      name: 'an event that comes no later than its cause',
      about: good,
      plant: () => tellAndNote({ lamport: 1 }),
      uproot: forget,
    },
    {
      rule: 'I13',
      name: 'an order that begins twice',
      about: good,
      async plant() {
        const { type, data } = await firstOf(good());
        await tellAndNote({ type, data, causationid: randomUUIDv7() });
      },
      uproot: forget,
    },
    {
      rule: 'I13',
      name: 'a step that said nothing and had no cause',
      about: good,
      async plant() {
        const [row] = await write(
          'notification',
          `select causation_id from journal where order_id = $1 and step = 'notification.notify-dispatched'`,
          [good()],
        );
        kept = row?.causation_id;
        await setNotified(randomUUIDv7());
      },
      uproot: () => setNotified(kept),
    },
    {
      rule: 'I14',
      name: 'an event that is not in the stream',
      about: good,
      async plant() {
        const { id } = await firstOf(good());
        const values = `values ($1, 'order.planted', 'do', 'done', $2, 'order.confirmed', 90, $3, 1, now())`;
        await write('order', `${withEvent()} ${values}`, [good(), randomUUIDv7(), id]);
      },
      uproot: forget,
    },
    {
      rule: 'I14',
      name: 'an event of the stream that no journal knows',
      about: bad,
      async plant() {
        const first = await firstOf(bad());
        const later = { type: 'order.confirmed', data: { city: 'pune' }, lamport: 90 } as const;
        await tell({ ...first, ...later, id: randomUUIDv7(), causationid: first.id });
      },
      uproot: () => bus().clean(),
    },
    {
      rule: 'I14',
      name: 'an event that the stream tells otherwise',
      about: bad,
      plant: async () => tell(await firstOf(bad(), { lamport: 7 })),
      uproot: () => bus().clean(),
    },
    {
      rule: 'I14',
      name: 'a refusal with another reason than was told',
      about: bad,
      plant: () => changeReason(bad(), `reason || '!'`),
      uproot: () => changeReason(bad(), `left(reason, -1)`),
    },
    {
      rule: 'I14',
      name: 'a message that cannot be read',
      about: () => null,
      async plant() {
        const [row] = await write('order', 'select message_id from outbox limit 1');
        await bus().publish(unheard, 'no JSON', `${row?.message_id}/${randomUUID()}`);
      },
      uproot: () => bus().clean(),
    },
  ];
};

/** A function, because the two files import each other. */
const withEvent = () => entry.replace('event_type', 'event_id, event_type');

const setTrace = (orderId: string, traceparent: string) =>
  write('order', 'update orders set traceparent = $2 where order_id = $1', [orderId, traceparent]);
const changeReason = (orderId: string, reason: string) =>
  write('logistics', `update journal set reason = ${reason} where order_id = $1 and outcome = 'refused'`, [
    orderId,
  ]);
