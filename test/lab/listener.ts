/** Somebody who follows the lab's events, until it is disposed of. */
export async function listen(url: string, path: string, lastEventId?: string) {
  const stop = new AbortController();
  const headers: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const response = await fetch(new URL(path, url), { headers, signal: stop.signal });
  let text = '';
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true });
  })().catch(() => undefined); // Ended by the abort below.
  const events = () =>
    [...text.matchAll(/^id: (.+)\nevent: (.+)\ndata: (.+)\n\n/gm)].map(([, id, type, data = '']) => ({
      id,
      type,
      data: JSON.parse(data),
    }));
  return {
    events,
    types: () => events().map(({ type }) => type),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
    },
  };
}
