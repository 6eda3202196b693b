/**
 * COPY … TO STDOUT in binary form, row by row as it arrives: what pg would make of a million rows are a million
 * objects, and all of them at once. A submittable, as flights are (flight.ts).
 */
import type pg from 'pg';

/** One row: its fields in order. What `bytes` gives is only valid until the next row. */
export type CopiedRow = {
  isNull(field: number): boolean;
  bytes(field: number): Buffer;
  int32(field: number): number;
  /** Of a timestamp, in milliseconds since 1970. */
  timeMs(field: number): number;
  text(field: number): string;
  /** The four words of a UUID. */
  uuid(field: number, into: Uint32Array, at: number): void;
};

/** "PGCOPY", a flags field and an empty extension, before the first row. */
const headerBytes = 19;
/** PostgreSQL counts from 2000 on, in microseconds. */
const epochMs = Date.UTC(2000);

/** `select` without parameters. Resolves at its end; a `take` that throws rejects, once the server has sent all. */
export function copyOut(client: pg.Client, select: string, take: (row: CopiedRow) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: unknown;
    let isBegun = false;
    const row = createRow();
    client.query({
      submit(connection: { query(text: string): void }) {
        connection.query(`copy (${select}) to stdout (format binary)`);
      },
      handleCopyData({ chunk }: { chunk: Buffer }) {
        if (failure !== undefined) return;
        try {
          const from = isBegun ? 0 : headerBytes;
          isBegun = true;
          if (row.read(chunk, from)) take(row);
        } catch (error) {
          failure = error;
        }
      },
      handleCommandComplete() {},
      handleReadyForQuery() {
        if (failure === undefined) resolve();
        else reject(failure);
      },
      handleError: reject,
    } as never);
  });
}

function createRow(): CopiedRow & { read(chunk: Buffer, from: number): boolean } {
  let chunk: Buffer = Buffer.alloc(0);
  const starts: number[] = [];
  const lengths: number[] = [];
  const startOf = (field: number) => starts[field] as number;
  const bytes = (field: number) =>
    chunk.subarray(startOf(field), startOf(field) + (lengths[field] as number));

  return {
    /** False for the end of the copy, which is a row of -1 fields, and for a header that comes alone. */
    read(data, from) {
      if (from >= data.length) return false;
      chunk = data;
      const fields = data.readInt16BE(from);
      let at = from + 2;
      for (let field = 0; field < fields; field++) {
        const length = data.readInt32BE(at);
        starts[field] = at + 4;
        lengths[field] = length;
        at += 4 + Math.max(0, length);
      }
      return fields >= 0;
    },
    isNull: (field) => (lengths[field] as number) < 0,
    bytes,
    int32: (field) => chunk.readInt32BE(startOf(field)),
    timeMs(field) {
      const start = startOf(field);
      const micros = chunk.readInt32BE(start) * 2 ** 32 + chunk.readUInt32BE(start + 4);
      return micros / 1_000 + epochMs;
    },
    text: (field) => bytes(field).toString(),
    uuid(field, into, at) {
      const start = startOf(field);
      for (let word = 0; word < 4; word++) into[at + word] = chunk.readUInt32BE(start + word * 4);
    },
  };
}
