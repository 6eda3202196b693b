/**
 * What every run finds. The checker's rules know the lab's wallets and dishes, which are plenty; an order that was
 * dispatched long ago, the banquet, holds nearly all of both, so that a handful of orders compete for the rest.
 */

import type { ServiceName } from '#libs/contracts/events.ts';
import { dishes, wallets } from '#libs/contracts/lab-data.ts';

export const rich = 'asha';
export const poor = 'ravi';
export const dish = 'masala-dosa';
export const cityWithCouriers = 'pune';
export const cityWithout = 'lonavala';
/** Of one portion, in paise. */
export const price = 100;
const portionsLeft = 4;
/** Less than for all the portions, so that either may run out first. */
const paiseLeft = 5 * price;

const portions = (dishes.find(({ dishId }) => dishId === dish)?.stock ?? 0) - portionsLeft;
const amount = (wallets.find(({ customerId }) => customerId === rich)?.balance ?? 0) - paiseLeft;

const banquet = '00000000-0000-7000-8000-00000000ba90';
const items = JSON.stringify([{ dishId: dish, quantity: portions }]);

/** With the journal entry that the checker wants to see beside it. */
const stands = (step: string, cause: number, ...rows: string[]): string[] => [
  ...rows,
  `insert into journal values ('${banquet}', '${step}', 'do', 'done', null, null, null, ${cause},
     '00000000-0000-7000-8000-0000000ca05${cause}', 1, '2025-12-31')`,
];

const rowsOf: Record<ServiceName, string[]> = {
  order: [
    `insert into orders values ('${banquet}', 'DISPATCHED', 'saga', '${rich}', '${cityWithCouriers}', '${items}', ${amount}, null,
       '', null, null, '2025-12-31', '2025-12-31', '2025-12-31')`,
  ],
  payment: stands(
    'payment.charge',
    1,
    `insert into wallets values ('${rich}', ${paiseLeft}), ('${poor}', 0)`,
    `insert into payments values ('${banquet}', '${rich}', ${amount}, 'charged')`,
  ),
  inventory: stands(
    'inventory.reserve',
    2,
    `insert into stock values ('${dish}', 'Masala Dosa', ${price}, ${portionsLeft}, ${portions})`,
    `insert into reservations values ('${banquet}', '${items}', 'reserved')`,
  ),
  logistics: stands(
    'logistics.assign',
    3,
    `insert into couriers values ('courier-1', 'Courier', '${cityWithCouriers}')`,
    `insert into assignments values ('${banquet}', 'courier-1', 'assigned')`,
  ),
  notification: [],
};

export const genesisOf = (service: ServiceName): string[] => rowsOf[service];
