/**
 * Spans whose id is known before they are made: somebody makes them again for a process that died. The SDK asks
 * its generator for an id while it starts a span, so a preset is taken by the very next one.
 */
import type { Span } from '@opentelemetry/api';

let preset: string | undefined;

/** For the generator of the SDK. */
export function takePresetId(): string | undefined {
  const id = preset;
  preset = undefined;
  return id;
}

/** The span that `start` starts has this id. */
export function withSpanId(id: string, start: () => Span): Span {
  preset = id;
  try {
    return start();
  } finally {
    preset = undefined;
  }
}
