/** What a mode means for each of the two directions. */
import type { LinkMode } from '#libs/contracts/parts.ts';
import type { Gate } from './flow.ts';

export type Gates = { up: Gate; down: Gate };

const open: Gate = { kind: 'open' };
const shut: Gate = { kind: 'shut' };

/** Small enough that a slow line is slow from the first byte on, not fast and then still. */
const piecesPerSecond = 20;

export function gatesOf(mode: LinkMode): Gates {
  switch (mode.mode) {
    case 'cut':
      return { up: shut, down: shut };
    case 'cut-up':
      return { up: shut, down: open };
    case 'cut-down':
      return { up: open, down: shut };
    case 'latency': {
      const draw = random(mode.seed);
      const late: Gate = { kind: 'late', delayMs: () => mode.ms + mode.jitterMs * draw() };
      return { up: late, down: late };
    }
    case 'slow': {
      const bytes = Math.ceil(mode.bytesPerSecond / piecesPerSecond);
      const pieces: Gate = { kind: 'pieces', bytes, everyMs: (bytes / mode.bytesPerSecond) * 1_000 };
      return { up: pieces, down: pieces };
    }
    case 'slice': {
      const pieces: Gate = { kind: 'pieces', bytes: mode.bytes, everyMs: 0 };
      return { up: pieces, down: pieces };
    }
    default:
      return { up: open, down: open };
  }
}

/** Mulberry32: the same seed draws the same numbers, from 0 to 1. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
