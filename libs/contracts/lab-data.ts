/**
 * The lab's data: always there, the same after every fresh start, so that every example in the docs works.
 * `asha` has plenty and `ravi` nothing; `masala-dosa` is plenty and `truffle-thali` sold out; `bengaluru`
 * has couriers and `lonavala` none. The rest is a crowd for the benches, made by rule, not by chance.
 */
export type Dish = { dishId: string; name: string; price: number; stock: number };
export type Wallet = { customerId: string; balance: number };
export type Courier = { courierId: string; name: string; city: string };

const plentyPaise = 100_000_000_000;
const plentyPortions = 1_000_000_000;
const crowdSize = 998;
const dishCrowdSize = 298;

export const wallets: readonly Wallet[] = [
  { customerId: 'asha', balance: plentyPaise },
  { customerId: 'ravi', balance: 0 },
  ...Array.from({ length: crowdSize }, (_, index) => ({
    customerId: `customer-${String(index + 1).padStart(4, '0')}`,
    balance: plentyPaise,
  })),
];

export const dishes: readonly Dish[] = [
  { dishId: 'masala-dosa', name: 'Masala Dosa', price: 12_000, stock: plentyPortions },
  { dishId: 'truffle-thali', name: 'Truffle Thali', price: 95_000, stock: 0 },
  ...Array.from({ length: dishCrowdSize }, (_, index) => ({
    dishId: `dish-${String(index + 1).padStart(3, '0')}`,
    name: `Dish ${index + 1}`,
    price: 8_000 + (index % 40) * 500,
    stock: plentyPortions,
  })),
];

export const cities = ['bengaluru', 'lonavala', 'mumbai', 'pune'] as const;

export const couriers: readonly Courier[] = cities
  .filter((city) => city !== 'lonavala')
  .flatMap((city) =>
    Array.from({ length: 40 }, (_, index) => ({
      courierId: `${city}-courier-${String(index + 1).padStart(2, '0')}`,
      name: `Courier ${index + 1}`,
      city,
    })),
  );
