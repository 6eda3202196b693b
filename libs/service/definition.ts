/** A service as data. Everything that services share is built from this by start.ts. */
import type { NatsConnection } from '@nats-io/transport-node';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';
import type { Logger } from 'pino';
import type { ServiceName } from '#libs/contracts/events.ts';
import type { RequestData, RequestName } from '#libs/contracts/requests.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { Cause, Reaction } from '#libs/step/reaction.ts';
import type { Verdict } from '#libs/step/transact.ts';
import type { ServiceConfig } from './config.ts';
import type { FastifyInstance } from './http.ts';

export type ServiceContext = {
  config: ServiceConfig;
  log: Logger;
  /** For reads. What changes something is a step, and goes through `request`. */
  db: NodePgDatabase;
  connection: NatsConnection;
  /** Asked before something new is taken in; what is under way goes on. */
  isOutboxFull(): boolean;
  /**
   * Runs the reaction of that name for this cause; resolves when it is committed. `roundsBefore` says how
   * often the same was asked in vain, so that attempts go on counting.
   */
  request<On extends RequestName>(
    on: On,
    cause: Omit<Cause<RequestData[On]>, 'lamport'>,
    roundsBefore?: number,
  ): Promise<Verdict>;
};

export type ServiceDefinition = {
  name: ServiceName;
  reactions: readonly Reaction[];
  /** Its part in two-phase commit; absent where there is nothing to agree to. */
  participation?: readonly Reaction[];
  /** Absolute path of the generated migrations. */
  migrations: string;
  /** What an order has come to when this step or undo of the saga is done: for counting orders. */
  orderFates?: Readonly<Record<string, 'placed' | 'dispatched' | 'cancelled'>>;
  /** Fills empty tables with the lab's data; must do nothing the second time. */
  seed(tx: Tx): Promise<void>;
  routes(app: FastifyInstance, context: ServiceContext): void;
  /** For a service on no order's path: it gathers this long before each batch. */
  pauseMs?: number;
  /** What runs beside the steps, such as a watchdog. */
  background?(context: ServiceContext): { stop(): Promise<void> };
};
