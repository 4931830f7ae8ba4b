/** Operations of the fake Compute Engine: https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations */

import { LINKS, notFound } from "./cloud-gce-replies.ts";
import type { FakeReply } from "./cloud-http.ts";

/** What an operation does when it is done; gives back an error as [code, message], or undefined. */
type Work = () => readonly [string, string] | undefined;

interface Operation {
  readonly name: string;
  readonly type: string;
  readonly work: Work;
  /** How often it is asked for before it is done. */
  polls: number;
  error?: readonly [string, string] | undefined;
  isDone: boolean;
}

export class FakeOperations {
  /** How often the next operations have to be asked for before they are done. */
  polls = 0;
  /** What the next operations end with instead of doing their work. */
  readonly errors: (readonly [string, string])[] = [];
  readonly #project: string;
  readonly #operations = new Map<string, Operation>();

  constructor(project: string) {
    this.#project = project;
  }

  /** `target` is the path of what it changes. */
  begin(type: string, target: string, work: Work): FakeReply {
    const name = `operation-${this.#operations.size + 1}`;
    const operation: Operation = { name, type, work, polls: this.polls, isDone: false };
    this.#operations.set(name, operation);
    return { body: { ...this.#describe(operation), targetLink: LINKS + target } };
  }

  /** Of both get and wait, which returns early too ("best effort"). */
  answer(name: string): FakeReply {
    const operation = this.#operations.get(name);
    if (operation === undefined) return notFound(`projects/${this.#project}/global/operations/${name}`);
    if (!operation.isDone && operation.polls-- <= 0) {
      operation.isDone = true;
      operation.error = this.errors.shift() ?? operation.work();
    }
    return { body: this.#describe(operation) };
  }

  #describe({ name, type, isDone, error }: Operation): Record<string, unknown> {
    return {
      ...{ kind: "compute#operation", name, operationType: type, status: isDone ? "DONE" : "RUNNING" },
      selfLink: `${LINKS}projects/${this.#project}/global/operations/${name}`,
      ...(error !== undefined && {
        error: { errors: [{ code: error[0], message: error[1] }] },
        ...{ httpErrorStatusCode: 403, httpErrorMessage: "FORBIDDEN" },
      }),
    };
  }
}
