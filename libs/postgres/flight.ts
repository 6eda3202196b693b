/**
 * A flight: prepared statements that leave in one write, are answered up to one Sync, and come back in one
 * read. pg's own pipeline mode syncs after every statement, so the backend answers, and both sides wake up,
 * once per statement; under load those wake-ups were most of what a batch cost. A flight is a submittable,
 * pg's interface for custom queries (as pg-cursor uses it).
 *
 * When a statement fails the server skips the rest of the flight: they fail with the same error.
 */
import pg from 'pg';
import { startFlightSpan } from '#libs/telemetry/flight-span.ts';
import { encodeValue } from './encode.ts';

export type FlightResult = { command: string; rows: pg.QueryResultRow[] };

export type FlightStatement = {
  name: string;
  text: string;
  values: readonly unknown[];
  resolve(result: FlightResult): void;
  reject(error: unknown): void;
};

/** What a connection knows of a prepared statement: its columns, or that nothing is certain after an error. */
type Prepared = { columns: Column[] } | 'uncertain';
type Column = { name: string; parse(text: string): unknown };

/** The part of pg's connection that a submittable may use. */
type Connection = {
  stream: { cork(): void; uncork(): void; destroy(): void };
  parse(message: { name: string; text: string }): void;
  bind(message: { statement: string; values: unknown[] }): void;
  describe(message: { type: 'P' }): void;
  execute(message: object): void;
  close(message: { type: 'S'; name: string }): void;
  sync(): void;
};

const preparedOn = new WeakMap<Connection, Map<string, Prepared>>();

export class Flight {
  readonly #statements: readonly FlightStatement[];
  #prepared: Map<string, Prepared> = new Map();
  /** The statement whose answer is coming in. */
  #at = 0;
  #columns: Column[] | undefined;
  #rows: pg.QueryResultRow[] = [];

  readonly #endSpan: (error?: unknown) => void;
  /** Set by pg, where answers are waited for within a time: called, it ends the wait. */
  callback?: () => void;

  constructor(statements: readonly FlightStatement[]) {
    this.#statements = statements;
    this.#endSpan = startFlightSpan(statements.map(({ text }) => text));
  }

  /** Called by the client when it is this flight's turn. */
  submit(connection: Connection): Error | null {
    this.#prepared = preparedOn.get(connection) ?? new Map();
    preparedOn.set(connection, this.#prepared);
    const parsedHere = new Set<string>();
    connection.stream.cork();
    for (const { name, text, values } of this.#statements) {
      // The unnamed statement is another one every time.
      const known = name === '' ? undefined : this.#prepared.get(name);
      if (!parsedHere.has(name) && (known === undefined || known === 'uncertain')) {
        // Closing what is not there is no error; parsing what is there would be one.
        if (known === 'uncertain') connection.close({ type: 'S', name });
        connection.parse({ name, text });
        parsedHere.add(name);
      }
      connection.bind({ statement: name, values: values.map(encodeValue) });
      if (parsedHere.has(name)) connection.describe({ type: 'P' });
      connection.execute({});
    }
    connection.sync();
    connection.stream.uncork();
    return null;
  }

  handleRowDescription(message: { fields: { name: string; dataTypeID: number }[] }): void {
    this.#columns = message.fields.map(({ name, dataTypeID }) => ({
      name,
      parse: pg.types.getTypeParser(dataTypeID),
    }));
  }

  handleDataRow(message: { fields: (string | null)[] }): void {
    const statement = this.#statements[this.#at];
    const known = this.#prepared.get(statement?.name ?? '');
    const columns = this.#columns ?? (typeof known === 'object' ? known.columns : []);
    const row: pg.QueryResultRow = {};
    for (const [index, { name, parse }] of columns.entries()) {
      const text = message.fields[index] ?? null;
      row[name] = text === null ? null : parse(text);
    }
    this.#rows.push(row);
  }

  handleCommandComplete(message: { text: string }): void {
    const statement = this.#statements[this.#at];
    if (!statement) return;
    const known = this.#prepared.get(statement.name);
    if (typeof known !== 'object') this.#prepared.set(statement.name, { columns: this.#columns ?? [] });
    statement.resolve({ command: message.text.split(' ', 1)[0] ?? '', rows: this.#rows });
    this.#at += 1;
    this.#columns = undefined;
    this.#rows = [];
  }

  handleEmptyQuery(): void {
    this.handleCommandComplete({ text: '' });
  }

  handleReadyForQuery(): void {
    this.callback?.();
    this.#endSpan();
  }

  handleError(error: unknown, connection?: Connection): void {
    this.callback?.();
    // Whoever rolls back on this connection would wait behind an answer that does not come.
    if (error instanceof Error && error.message === 'Query read timeout') connection?.stream.destroy();
    this.#endSpan(error);
    const failed = this.#statements[this.#at];
    if (failed && typeof this.#prepared.get(failed.name) !== 'object')
      this.#prepared.set(failed.name, 'uncertain');
    for (const { reject } of this.#statements.slice(this.#at)) reject(error);
    this.#at = this.#statements.length;
  }
}
