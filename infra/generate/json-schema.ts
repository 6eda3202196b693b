/** zod schemas as JSON Schema: named ones as references, all others where they are used. */
import { z } from 'zod';

export type JsonSchema = { [key: string]: unknown };
export type Converter = {
  /** The schema itself, or a reference when it has a name. */
  use(schema: z.ZodType): JsonSchema;
  /** Those of the named schemas that were used. */
  named(): Record<string, JsonSchema>;
};

/** Input: what a client sends, defaults left out. Output: what it gets. */
export function converter(
  names: Readonly<Record<string, z.ZodType>>,
  io: 'input' | 'output',
  refTo: (name: string) => string = (name) => `#/components/schemas/${name}`,
): Converter {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(names)) registry.add(schema, { id });
  const converted = z.toJSONSchema(registry, {
    io,
    uri: refTo,
    override: (context) => simplify(context, io),
  }).schemas;
  const used = new Set<string>();
  return {
    use(schema) {
      const id = registry.get(schema)?.id;
      if (id !== undefined) {
        used.add(id);
        return { $ref: refTo(id) };
      }
      return clean(
        z.toJSONSchema(schema, { io, override: (context) => simplify(context, io) }) as JsonSchema,
      );
    },
    named: () =>
      Object.fromEntries(
        Object.keys(names)
          .filter((id) => used.has(id))
          .map((id) => [id, clean(converted[id] as JsonSchema)]),
      ),
  };
}

/** What a reader of the document does not need: the patterns behind formats, and bounds that are the number type's own. */
function simplify({ jsonSchema: schema }: { jsonSchema: JsonSchema }, io: 'input' | 'output'): void {
  if (schema.format === 'uuid' || schema.format === 'date-time') delete schema.pattern;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  // A client must take fields that a later version adds.
  if (io === 'output' && schema.additionalProperties === false) delete schema.additionalProperties;
}

function clean({ $schema: _, $id: __, id: ___, ...schema }: JsonSchema): JsonSchema {
  return schema;
}
