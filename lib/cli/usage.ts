import { HoldfastError } from "../errors.ts";

/** What was asked for cannot be meant: nothing was run. */
export function usageError(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, { code: "ERR_HOLDFAST_USAGE", step: "usage", hint });
}
