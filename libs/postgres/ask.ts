import pg from 'pg';

/**
 * `pool.query` for statements that fail in the ordinary course of things. The pool ends a connection after any error,
 * and the next one costs a process and a key derivation (SCRAM), many times the statement; after an error of the
 * statement alone the connection is as good as before.
 */
export async function ask<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  question: pg.QueryConfig | string,
): Promise<pg.QueryResult<Row>> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    return await client.query<Row>(question);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError && error.severity === 'ERROR')) broken = error as Error;
    throw error;
  } finally {
    client.release(broken);
  }
}
