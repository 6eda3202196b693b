/** One direction of one connection: what comes in at the source leaves at the sink when its gate lets it. */
import type { Socket } from 'node:net';

export type Gate =
  | { kind: 'open' }
  | { kind: 'shut' }
  /** `delayMs` is drawn anew for each piece; they keep their order. */
  | { kind: 'late'; delayMs: () => number }
  | { kind: 'pieces'; bytes: number; everyMs: number };

export type FlowOptions = {
  source: Socket;
  sink: Socket;
  gate: Gate;
  onBytes: (bytes: number) => void;
  /** The gate has held something up. */
  onHeld: () => void;
  /** Sees what comes in, before the gate does; false loses it. */
  look?: (bytes: Buffer) => boolean;
};

export type Flow = { set(gate: Gate): void };

type Item = { bytes: Buffer; dueMs: number } | 'end' | 'break';

/** Held in memory for one direction; what is beyond waits in the kernel, and at last in the sender. */
const heldBytesMax = 1_000_000;

export function createFlow({ source, sink, gate: first, onBytes, onHeld, look }: FlowOptions): Flow {
  let gate = first;
  const queue: Item[] = [];
  let queuedBytes = 0;
  let isSinkFull = false;
  let lastDueMs = 0;
  let nextPieceMs = 0;
  let timer: NodeJS.Timeout | NodeJS.Immediate | undefined;

  const send = (bytes: Buffer) => {
    onBytes(bytes.length);
    isSinkFull = !sink.write(bytes);
    if (isSinkFull) source.pause();
  };

  const take = (bytes: Buffer) => {
    if (look?.(bytes) === false) return;
    if (gate.kind === 'open' && queue.length === 0 && !isSinkFull) return send(bytes);
    if (gate.kind !== 'open') onHeld();
    // Never before what came first, whatever was drawn for it.
    if (gate.kind === 'late') lastDueMs = Math.max(lastDueMs, performance.now() + gate.delayMs());
    queue.push({ bytes, dueMs: gate.kind === 'late' ? lastDueMs : 0 });
    queuedBytes += bytes.length;
    if (queuedBytes > heldBytesMax) source.pause();
    pump();
  };

  /** How long the head of the queue has to wait, by the gate as it is now. */
  const waitMs = (head: Item): number => {
    if (gate.kind === 'shut') return Number.POSITIVE_INFINITY;
    if (gate.kind === 'late') return (typeof head === 'string' ? lastDueMs : head.dueMs) - performance.now();
    return gate.kind === 'pieces' ? nextPieceMs - performance.now() : 0;
  };

  const pump = () => {
    cancel(timer);
    for (let head = queue[0]; head !== undefined && !isSinkFull; head = queue[0]) {
      const wait = waitMs(head);
      if (wait === Number.POSITIVE_INFINITY) return;
      if (wait > 0) {
        timer = setTimeout(pump, wait);
        return;
      }
      release(head);
      if (gate.kind === 'pieces' && queue.length > 0) {
        nextPieceMs = performance.now() + gate.everyMs;
        // Two writes in one turn of the event loop are likely to arrive as one piece.
        timer = gate.everyMs === 0 ? setImmediate(pump) : setTimeout(pump, gate.everyMs);
        return;
      }
    }
    if (!isSinkFull && queuedBytes <= heldBytesMax) source.resume();
  };

  const release = (head: Item) => {
    if (head === 'end') sink.end();
    if (head === 'break' || sink.destroyed) sink.resetAndDestroy();
    if (typeof head === 'string' || sink.destroyed) {
      // The sink has gone: whoever still sends learns it, as from a server that answers with RST.
      if (sink.destroyed && !source.destroyed) source.resetAndDestroy();
      queue.shift();
      return;
    }
    const size = gate.kind === 'pieces' ? gate.bytes : head.bytes.length;
    send(head.bytes.subarray(0, size));
    queuedBytes -= Math.min(size, head.bytes.length);
    if (size >= head.bytes.length) queue.shift();
    else head.bytes = head.bytes.subarray(size);
  };

  source.on('data', take);
  source.once('end', () => {
    queue.push('end');
    pump();
  });
  source.once('error', () => {
    queue.push('break');
    pump();
  });
  sink.on('drain', () => {
    isSinkFull = false;
    pump();
  });
  source.resume();

  return {
    set(next) {
      gate = next;
      nextPieceMs = 0;
      pump();
    },
  };
}

/** Either kind is cleared by its own function; the other one ignores it. */
function cancel(timer: NodeJS.Timeout | NodeJS.Immediate | undefined): void {
  clearTimeout(timer as NodeJS.Timeout);
  clearImmediate(timer as NodeJS.Immediate);
}
