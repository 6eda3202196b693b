/**
 * The business step: written once, with its undo beside it, in batch form. It knows neither events nor
 * votes; the saga driver and the 2PC participant run the same functions and differ only in the ending
 * (ARCHITECTURE.md). Not in a step: BEGIN, COMMIT, publish, NOTIFY, a clock, randomness.
 */
import type { Tx } from '#libs/postgres/transaction.ts';

/** A business "no" is a value. An exception means infrastructure or a bug, and the attempt is retried. */
export type Done<Result> = { outcome: 'done'; result: Result };
export type Refused = { outcome: 'refused'; reason: string };
export type Outcome<Result> = Done<Result> | Refused;

export type Command = { orderId: string };
/** What an undo is told: which order, and why. What there is to undo it reads from its own tables. */
export type Undo = { orderId: string; reason: string };

/**
 * Rows that orders share, such as a wallet or a dish's stock: what a step and its undo may have to wait for
 * because of somebody else's order. Named as data, so that the driver can look for and wait for one of them.
 */
export type SharedRows = {
  table: string;
  /** The text column that finds one row. */
  column: string;
  /** Which of them this order touches, forward and back. */
  of(order: { customerId: string; dishIds: string }): string[];
};

export type Step<C extends Command = Command, Locked = unknown, Result = unknown> = {
  /** `service.verb`: the journal's key, the name of the fault point and of the span. */
  name: string;
  /** Absent: it locks nothing but the order's own rows. */
  shares?: SharedRows;
  /**
   * Locks, in one fixed order, every row that these commands and undos will touch, and reads it. Called
   * once per transaction with all of them, so that two transactions can never wait for each other.
   */
  lock(tx: Tx, commands: readonly C[], undos: readonly Undo[]): Promise<Locked>;
  /** Decides every command (purely) and writes the decisions set-based. One outcome per command, in order. */
  perform(tx: Tx, commands: readonly C[], locked: Locked, at: Date): Promise<Outcome<Result>[]>;
} & (
  | {
      /** The name of the undo, `service.verb`. */
      undoName: string;
      /** Takes back what perform did for these orders; called only for orders for which it was done. */
      undo(tx: Tx, undos: readonly Undo[], locked: Locked, at: Date): Promise<Outcome<unknown>[]>;
    }
  | {
      undoName?: never;
      undo?: never;
      /** Why there is no undo here: the step whose undo covers it, or that it has no effect to take back. */
      coveredBy: string;
    }
);

export const done = <Result>(result: Result): Done<Result> => ({ outcome: 'done', result });
export const refused = (reason: string): Refused => ({ outcome: 'refused', reason });
