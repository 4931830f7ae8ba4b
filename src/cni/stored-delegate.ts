/**
 * The content of a stored config: the delegate's config as Go's plugin writes it, and, only after an ADD that failed and
 * could not be undone, the error of that ADD in one more member, which no delegate gets to see.
 */

import { isObject } from "../config/json-members.ts";
import type { CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import { formatGoJson } from "./go-json.ts";
import type { StoredConfig } from "./stored-configs.ts";

const FAILED_ADD = "flannel.dev/failed-add";

/** What ADD has stored for DEL. */
export interface StoredDelegate {
  readonly delegate: DelegateConfig;
  /** {@link errorText} of the failed ADD; undefined = ADD succeeded, or ended without a result. */
  readonly addError: string | undefined;
}

/** The text to store. */
export const formatStored = (delegate: DelegateConfig, addError?: CniError): string =>
  formatGoJson(addError === undefined ? delegate : { ...delegate, [FAILED_ADD]: errorText(addError) });

/** A stored config that names its plugin; undefined = the text is damaged. */
export function parseStored({ text }: StoredConfig): StoredDelegate | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value) || typeof value.type !== "string") return undefined;
    const { [FAILED_ADD]: addError, ...delegate } = value;
    return {
      delegate: { ...delegate, type: value.type },
      addError: typeof addError === "string" ? addError : undefined,
    };
  } catch {
    return undefined;
  }
}

/** An error as text that can be compared. */
export const errorText = ({ cniCode, message }: CniError): string => `${cniCode} ${message}`;
