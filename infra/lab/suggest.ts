const distanceMax = 2;
const shownMax = 3;

/** Names that were probably meant, the nearest first; none when nothing is near. */
export function near(given: string, names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, distance: distance(given, name) }))
    .filter(({ name, distance }) => distance <= distanceMax || (given !== '' && name.includes(given)))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, shownMax)
    .map(({ name }) => name);
}

/** Levenshtein's distance: how many letters to add, drop or change. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      const change = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
