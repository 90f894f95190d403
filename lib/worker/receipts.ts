import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Envelope } from "../audit/dsse.ts";
import { folderName } from "./extraction.ts";
import { describe } from "./failure.ts";
import type { WorkerLog } from "./log.ts";

/** What has left one behind. */
export interface Attested {
  readonly name: string;
  readonly receipt: Envelope | null;
}

/** Writes a session's receipt to `FOLDER/SESSION.SANDBOX.json`, whole or not at all. One that is lost is said, no more. */
export function writeReceipt({ name, receipt }: Attested, session: string, folder: string, log: WorkerLog): void {
  if (receipt === null) return;
  const file = join(folder, `${folderName(session)}.${name}.json`);
  const temporary = `${file}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(receipt)}\n`, { mode: 0o600, flag: "wx" });
    renameSync(temporary, file);
    log.info({ session, sandbox: name, file }, "receipt written");
  } catch (error) {
    log.error({ session, sandbox: name, file, error: describe(error) }, "the receipt could not be written");
  }
}
