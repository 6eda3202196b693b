/**
 * Loaded into a service before all else: its Date is as far off as a file says, which may say otherwise at any moment.
 * For libfaketime, which not every machine has. What does not ask Date keeps the machine's clock: ids, spans, HTTP's
 * own header; so does PostgreSQL.
 */
import { readFileSync } from 'node:fs';

const lookEveryMs = 20;

const file = process.env.SHIFTED_DATE ?? '';
const RealDate = Date;
let shiftMs = 0;

function look(): void {
  try {
    shiftMs = Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    shiftMs = 0; // No file: the machine's clock.
  }
}
look();
setInterval(look, lookEveryMs).unref();

const now = () => RealDate.now() + shiftMs;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, as) => Reflect.construct(target, given.length === 0 ? [now()] : given, as),
  get: (target, name, self) => (name === 'now' ? now : Reflect.get(target, name, self)),
});
