/** Values of options: text from a command line, parsed or refused with what was expected. */
import { UsageError } from './command.ts';

const unitsMs = { ms: 1, s: 1_000, m: 60_000 } as const;

/** `5`, `5s`, `250ms` or `1m`, in milliseconds. A number alone is seconds. */
export function durationMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match) return Number(match[1]) * unitsMs[(match[2] ?? 's') as keyof typeof unitsMs];
  throw new UsageError(`${option} wants a time such as 5s, 250ms or 1m, not '${text}'`);
}

export function wholeNumber(text: string, option: string, { min = 1, max = 1_000_000 } = {}): number {
  const number = Number(text);
  if (/^-?\d+$/.test(text) && number >= min && number <= max) return number;
  throw new UsageError(`${option} wants a whole number from ${min} to ${max}, not '${text}'`);
}

/** A share of all, above 0 and at most 1. */
export function share(text: string, option: string): number {
  const number = Number(text);
  if (text.trim() !== '' && number > 0 && number <= 1) return number;
  throw new UsageError(`${option} wants a share such as 0.1 (at most 1), not '${text}'`);
}

export function oneOf<Value extends string>(text: string, option: string, values: readonly Value[]): Value {
  const found = values.find((value) => value === text);
  if (found !== undefined) return found;
  throw new UsageError(`${option} wants ${values.join(' or ')}, not '${text}'`);
}
