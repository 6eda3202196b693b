/**
 * A reaction is a row: on event → step → outcome → event. From these rows come the running consumers, the
 * proof that the choreography is complete, and the drawn diagram. No service imports another's rows.
 */
import type { EventData, EventType } from '#libs/contracts/events.ts';
import type { RequestData, RequestName } from '#libs/contracts/requests.ts';
import type { Command, Step } from './step.ts';

/** What set a step off: an event from the bus, or a request. */
export type Cause<Data = unknown> = {
  /** The event's id, or the id that the request was given on arrival. */
  id: string;
  orderId: string;
  customerId: string;
  /** Comma-separated, as on the wire. */
  dishIds: string;
  data: Data;
  /** 0 for a request: no event caused it. */
  lamport: number;
  traceparent: string;
  /** Of an event that is traced; see libs/telemetry/origin.ts. */
  tracestate?: string | undefined;
  /** Faults that travel with the order; see libs/faults. */
  faults?: string | undefined;
};

/** What set off a row's step: the data of an event from the registry, or of a request. */
export type DataOf<On> = On extends EventType
  ? EventData<On>
  : On extends RequestName
    ? RequestData[On]
    : never;

/** The event that an outcome says: its type, and its data from the cause and the step's result. */
type Emission<Type extends EventType, Data, Result> = {
  say: Type;
  data(said: { cause: Cause<Data>; result: Result; reason: string }): EventData<Type>;
};

// biome-ignore lint/suspicious/noExplicitAny: rows of different steps stand in one table; `performs` and `undoes` check the types of each row where it is written.
type Erased = any;

export type Reaction = {
  on: EventType | RequestName;
  step: Step<Erased, Erased, Erased>;
  direction: 'do' | 'undo';
  command(cause: Cause<Erased>): Command & { reason?: string };
  done: Emission<Erased, Erased, Erased> | null;
  refused: Emission<Erased, Erased, Erased> | null;
  /** A request about an order that exists: in logical time it comes after all that this service knows of it. */
  afterAllKnown?: boolean;
};

/** A row whose step goes forward. */
export function performs<
  On extends EventType | RequestName,
  C extends Command,
  Result,
  Done extends EventType,
  Refused extends EventType,
>(row: {
  on: On;
  step: Step<C, Erased, Result>;
  command(cause: Cause<DataOf<On>>): NoInfer<C>;
  done: Emission<Done, DataOf<On>, NoInfer<Result>> | null;
  refused: Emission<Refused, DataOf<On>, never> | null;
  afterAllKnown?: boolean;
}): Reaction {
  return { ...row, direction: 'do' };
}

/** Events that a compensation can start from or pass through: they carry why. */
type ReasonedEvent = { [T in EventType]: EventData<T> extends { reason: string } ? T : never }[EventType];

/** A row whose step is undone. The reason travels along the chain, so that the end can tell it. */
export function undoes<On extends ReasonedEvent, Done extends ReasonedEvent>(row: {
  on: On;
  step: Step<Erased, Erased, Erased>;
  say: Done;
}): Reaction {
  const { on, step, say } = row;
  const passOn = ({ cause }: { cause: Cause<{ reason: string }> }) => ({ reason: cause.data.reason });
  return {
    on,
    step,
    direction: 'undo',
    command: ({ orderId, data }) => ({ orderId, reason: data.reason }),
    done: { say, data: passOn },
    refused: null,
  };
}

/**
 * A service's part in two-phase commit, from the same step: done in the branch, undone in the same open
 * transaction when another participant refuses, and nothing said on the bus, except by closing rows.
 */
export function takesPart<C extends Command, Result>(row: {
  step: Step<C, Erased, Result>;
  command(cause: Cause<RequestData['request:branch']>): NoInfer<C>;
  /** Run once all have agreed, in this order. */
  closing?: readonly Reaction[];
  /** What is said when the step was undone for another participant's refusal. */
  undone?: Emission<Erased, { reason: string }, unknown>;
}): Reaction[] {
  const { step, command, closing = [], undone = null } = row;
  return [
    performs({ on: 'request:branch', step, command, done: null, refused: null }),
    ...closing,
    {
      on: 'request:undo-branch',
      step,
      direction: 'undo',
      command: ({ orderId, data }) => ({ orderId, reason: data.reason }),
      done: undone,
      refused: null,
    },
  ];
}
