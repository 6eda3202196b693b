/** Every row of the fault matrix has its tests, and no test calls itself one that the matrix does not know. */
import { globSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { faultRows } from '../../infra/generate/fault-rows.ts';

const rowsMax = 35;
/** `F16, F17: …` */
const rowsOf = (title: string): string[] => /^((?:[FT]\d+, )*[FT]\d+): /.exec(title)?.[1]?.split(', ') ?? [];

/** The titles of a file's tests and groups, as they are written: those of `each` with their places. */
function titlesOf(file: string): string[] {
  const text = readFileSync(file, 'utf8').replaceAll(/^\s*(\/?\*|\/\/).*$/gm, '');
  return [...text.matchAll(/[(,]\s*(['"`])([FT]\d+(?:, [FT]\d+)*: .*?)\1,/g)].map(
    ([, , title = '']) => title,
  );
}

const named = faultRows.flatMap(({ id, tests }) =>
  tests.map(([file, title]) => ({ id, file: `${file}.test.ts`, title })),
);

describe('The fault matrix', () => {
  test('has every row once, F1 to F35 and those of two-phase commit', () => {
    const ids = faultRows.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const wanted = Array.from({ length: rowsMax }, (_, index) => `F${index + 1}`);
    expect(ids.filter((id) => id.startsWith('F'))).toEqual(wanted);
    expect(ids.filter((id) => id.startsWith('T')).length).toBeGreaterThan(5);
  });

  test('names for each row tests that are there, and that name the row', () => {
    expect(faultRows.filter(({ tests }) => tests.length === 0).map(({ id }) => id)).toEqual([]);
    const missing = named.filter(
      ({ id, file, title }) => !titlesOf(file).includes(title) || !rowsOf(title).includes(id),
    );
    expect(missing).toEqual([]);
  });

  test('names every test that names a row of it', () => {
    const files = globSync('test/**/*.test.ts');
    const said = files.flatMap((file) =>
      titlesOf(file).flatMap((title) => rowsOf(title).map((id) => `${id} ${file} ${title}`)),
    );
    expect(said.length).toBeGreaterThan(rowsMax);
    expect(said.sort()).toEqual(named.map(({ id, file, title }) => `${id} ${file} ${title}`).sort());
  });

  test('would miss a test that is called otherwise', () => {
    const [first] = named;
    expect(titlesOf(first?.file ?? '')).not.toContain(`${first?.title}.`);
    expect(rowsOf('When F1 comes')).toEqual([]);
  });
});
