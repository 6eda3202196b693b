/** The HTTP instrumentation knows the method only; the route is known once the router has found it. */
import { trace } from '@opentelemetry/api';

export function nameHttpSpan(method: string, route: string | undefined): void {
  const span = trace.getActiveSpan();
  if (!span || route === undefined) return;
  span.updateName(`${method} ${route}`);
  span.setAttribute('http.route', route);
  // The path as it came may name a customer, and traces hold no personal data.
  span.setAttribute('url.path', route);
}
