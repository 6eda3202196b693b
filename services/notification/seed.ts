/** Nobody has been told anything yet. */
export async function seed(): Promise<void> {}
