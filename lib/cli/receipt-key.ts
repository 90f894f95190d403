import type { KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { defaultKeyFile, readKey } from "../audit/receipt-key.ts";
import { HoldfastError } from "../errors.ts";
import type { Policy } from "../policy/policy.ts";
import type { ResultPurpose } from "./result-file.ts";
import { folderThatShows } from "./shown-file.ts";

/** The file of `--receipt`. */
export const receiptFile: ResultPurpose = {
  what: "the receipt",
  flag: "--receipt",
  code: "ERR_HOLDFAST_RECEIPT_FILE",
};

/**
 * The key that receipts are signed with, which no sandbox may see.
 *
 * @throws HoldfastError ERR_HOLDFAST_RECEIPT_KEY
 */
export function receiptKey(file: string | undefined, workdir: string, policy: Policy): KeyObject {
  const keyFile = resolve(file ?? defaultKeyFile());
  const shows = folderThatShows(keyFile, workdir, policy);
  if (shows === undefined) return readKey(keyFile);
  throw new HoldfastError(`the receipt key ${keyFile} lies in ${shows}, where the sandbox could read it`, {
    code: "ERR_HOLDFAST_RECEIPT_KEY",
    step: "audit",
    path: keyFile,
    hint: "Keep it elsewhere, readable by this user alone.",
  });
}
