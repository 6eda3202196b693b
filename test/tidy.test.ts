import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { eventTypeNames } from '#libs/contracts/events.ts';

const repository = resolve(import.meta.dirname, '..');
const linesMax = 250;

const sources = globSync('{libs,services,infra,test}/**/*.{ts,mjs}', {
  cwd: repository,
  exclude: (name) => name === 'node_modules',
});
const textOf = (file: string): string => readFileSync(join(repository, file), 'utf8');

/** What a file imports, as paths of this repository or names of packages. */
function importsOf(file: string): string[] {
  const found = textOf(file).matchAll(/(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g);
  return [...found].map(([, name = '']) => {
    if (name.startsWith('.')) return relative(repository, resolve(repository, dirname(file), name));
    return name.replace(/^#lab\//, 'infra/lab/').replace(/^#/, '');
  });
}

const serviceOf = (file: string): string | undefined => /^services\/([^/]+)\//.exec(file)?.[1];

/** Where an event may be called by its name, beside the registry, the reactions, the tests, console and lab. */
const mayNameEvents: Record<string, string> = {
  'libs/checker/facts.ts': 'the checker reads in SQL which journal entries are ends',
  'libs/checker/trail.ts': 'the checker knows which events begin a story',
};
const namesEvents = (file: string): boolean => {
  const text = textOf(file).replaceAll(/^\s*(\/?\*|\/\/).*$/gm, '');
  return eventTypeNames.some((type) => text.includes(`'${type}'`) || text.includes(`"${type}"`));
};
const isFreeToName = (file: string) =>
  file === 'libs/contracts/events.ts' ||
  /^services\/\w+\/reactions\.ts$/.test(file) ||
  /^(test|infra\/lab|services\/console)\//.test(file);

test('There are sources to look at', () => {
  expect(sources.length).toBeGreaterThan(100);
});

describe('Every source file', () => {
  test('of a service imports no other service', () => {
    const found = sources.flatMap((file) =>
      importsOf(file)
        .filter((name) => serviceOf(file) && serviceOf(name) && serviceOf(name) !== serviceOf(file))
        .map((name) => `${file} imports ${name}`),
    );
    expect(found).toEqual([]);
  });

  test('of the libraries imports no service, and nothing outside of tests imports tests', () => {
    const found = sources.flatMap((file) =>
      importsOf(file)
        .filter(
          (name) =>
            (file.startsWith('libs/') && serviceOf(name)) ||
            (!file.startsWith('test/') && name.startsWith('test/')),
        )
        .map((name) => `${file} imports ${name}`),
    );
    expect(found).toEqual([]);
  });

  test(`has at most ${linesMax} lines, or says at its top why it has more`, () => {
    const found = sources.filter((file) => {
      const text = textOf(file);
      const top = text.slice(0, text.indexOf('*/') + 1);
      return text.split('\n').length - 1 > linesMax && !/lines,? because/.test(top);
    });
    expect(found).toEqual([]);
  });

  test('leaves the names of events to the registry and the reactions', () => {
    const found = sources.filter((file) => !isFreeToName(file) && namesEvents(file));
    expect(found.sort()).toEqual(Object.keys(mayNameEvents).sort());
  });
});
