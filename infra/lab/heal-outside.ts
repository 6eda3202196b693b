/** Ends what was done to the lab from outside: parts that stand still or are held down, links that do not pass. */
import type { Healed } from '#libs/contracts/parts.ts';
import { labControl } from './control/client.ts';

export const healOutside = (home: string): Promise<Healed> => labControl(home).heal();

/** One line for each kind; none where nothing was done. */
export function healedLines({ resumed, started, links }: Healed): string[] {
  return [
    ...(resumed.length > 0 ? [`resumed: ${resumed.join(', ')}`] : []),
    ...(started.length > 0 ? [`started: ${started.join(', ')}`] : []),
    ...(links.length > 0 ? [`links that pass again: ${links.join(', ')}`] : []),
  ];
}
