// Whether the service in this container is ready. Plain JavaScript and `node:http`: it is started every few
// seconds, and stripping types or loading `fetch` would cost more than the question.
import { get } from 'node:http';

const timeoutMs = 4_000;

get({ host: '127.0.0.1', port: process.env.SERVICE_PORT, path: '/readyz', timeout: timeoutMs }, (answer) => {
  answer.resume();
  process.exitCode = answer.statusCode === 200 ? 0 : 1;
})
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
