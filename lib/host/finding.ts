import { constants } from "node:os";

/** What one wall comes to on this host. */
export interface Finding {
  readonly wall: string;
  readonly status: "enforced" | "partial" | "unavailable";
  /** Without it nothing runs. */
  readonly required: boolean;
  /** How it was found out. */
  readonly probe: string;
  readonly detail: string;
  /** The command that would give it. */
  readonly remedy?: string;
}

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The name of an errno, or its number. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? String(errno);
}
