/**
 * JavaScript values as PostgreSQL's text format. pg does this too, one element and one regular expression at
 * a time; the arrays of a batch are most of what a service sends, so here they are joined whole.
 */

/** Arrays become array literals, dates ISO 8601, the rest its text; undefined and null are NULL. */
export function encodeValue(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return encodeArray(value);
  if (value instanceof Date) return value.toISOString();
  return String(value);
}

function encodeArray(values: readonly unknown[]): string {
  // By hand: an iterator or an array of texts costs more here than the texts do.
  let text = '{';
  for (let index = 0; index < values.length; index++) {
    text += index > 0 ? `,${encodeElement(values[index])}` : encodeElement(values[index]);
  }
  return `${text}}`;
}

function encodeElement(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return String(value);
  const text = value instanceof Date ? value.toISOString() : String(value);
  // Quoted always, so that an empty text, a NULL in words, commas and braces stand for themselves.
  return text.includes('"') || text.includes('\\') ? `"${text.replaceAll(/["\\]/g, '\\$&')}"` : `"${text}"`;
}
