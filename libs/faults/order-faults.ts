/**
 * Faults that one order carries: a compact string in the events' `faults` attribute, such as
 * `inventory.reserve=refuse payment.refund=error*2 order.confirm=delay:500`. It travels like the trace
 * context, so every service meets it without asking anyone.
 */
import { faultActions, type OrderFault } from '#libs/contracts/orders.ts';

const delayMsDefault = 1_000;

export type CarriedFault = { at: string; do: OrderFault['do']; ms: number; times: number };

export function writeOrderFaults(faults: readonly OrderFault[]): string | undefined {
  if (faults.length === 0) return undefined;
  return faults
    .map((fault) => {
      const ms = fault.do === 'delay' ? `:${fault.ms ?? delayMsDefault}` : '';
      const times = isCounted(fault.do) ? `*${fault.times ?? 1}` : '';
      return `${fault.at}=${fault.do}${ms}${times}`;
    })
    .join(' ');
}

/** A refusal or a delay meets every attempt. */
export const isCounted = (action: OrderFault['do']): boolean => action !== 'refuse' && action !== 'delay';

const pattern = new RegExp(`^([a-z.-]+)=(${faultActions.join('|')})(?::(\\d+))?(?:\\*(\\d+))?$`);

/** Text that does not parse is no fault: the attribute may come from a newer producer. */
export function readOrderFaults(text: string | undefined): CarriedFault[] {
  if (!text) return [];
  return text.split(' ').flatMap((part) => {
    const match = pattern.exec(part);
    if (!match?.[1] || !match[2]) return [];
    const action = match[2] as OrderFault['do'];
    return [{ at: match[1], do: action, ms: Number(match[3] ?? 0), times: Number(match[4] ?? 1) }];
  });
}
