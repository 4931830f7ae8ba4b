/**
 * Cleaning up when a test process ends before its tests did: by an uncaught error, SIGTERM or SIGINT. Last in, first
 * out; synchronous, as exit handlers are.
 */

const cleaners = new Set<() => void>();

/** Runs `clean` at such an end; the returned function cancels that. */
export function atExit(clean: () => void): () => void {
  cleaners.add(clean);
  return () => void cleaners.delete(clean);
}

process.once("exit", () => {
  for (const clean of [...cleaners].reverse()) {
    try {
      clean();
    } catch (error) {
      console.error(error); // the others have to run nevertheless
    }
  }
});

// By default a signal ends Node without its exit handlers. Not `once`: timeout(1) sends two, the second while we clean up.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(1));
