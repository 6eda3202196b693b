/** One order of a storm: drawn from its seed, and named by the key that it is placed under. */
import { cities, dishes, wallets } from '#libs/contracts/lab-data.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Protocol } from '#libs/contracts/orders.ts';
import type { Random } from './random.ts';

export type DrawnOrder = { orderId: string; key: string; body: object };

const courierCities = cities.filter((city) => city !== 'lonavala');
const rich = wallets.filter(({ balance }) => balance > 0);
const plenty = dishes.filter(({ stock }) => stock > 0);
/** Few, so that orders meet: on wallets, on dishes, on couriers. */
const customersMax = 40;
const dishesMax = 12;
const shares = { noMoney: 0.03, soldOut: 0.04, noCourier: 0.04 } as const;

/** Mostly orders that can be delivered, and some of each kind that cannot. */
export function drawOrder(random: Random, key: string, protocol: Protocol | 'both'): DrawnOrder {
  const one = protocol === 'both' ? random.pick(['saga', '2pc'] as const) : protocol;
  const draw = random.next();
  const { noMoney, soldOut, noCourier } = shares;
  const body = {
    customerId: draw < noMoney ? 'ravi' : random.pick(rich.slice(0, customersMax)).customerId,
    city: draw > 1 - noCourier ? 'lonavala' : random.pick(courierCities),
    items: [
      {
        dishId:
          draw > noMoney && draw < noMoney + soldOut
            ? 'truffle-thali'
            : random.pick(plenty.slice(0, dishesMax)).dishId,
        quantity: random.between(1, 3),
      },
    ],
    protocol: one,
    ...(one === '2pc' && random.next() < 0.5 ? { twoPhase: 'grouped' } : {}),
  };
  return { orderId: orderIdOf(key), key, body };
}
