import { accessSync, constants, statSync } from "node:fs";
import { reachOf } from "../egress/addresses.ts";
import { isWithin } from "../host/paths.ts";
import type { DenialRecord } from "../native.ts";
import { noNameServer } from "../plan/etc.ts";
import { isOwn } from "../plan/mounts.ts";
import type { Architecture } from "../plan/seccomp-profile.ts";
import { readHostPort } from "../policy/host-port.ts";
import type { Denial } from "./types.ts";
import { systemFolders } from "./workspace.ts";

/** Subjects of refused connections that are no place. */
export const nameLookup = "a name server";
export const udp = "udp";

/** Where a C library looks for a name server in a sandbox that has none. */
const askedForNames: ReadonlySet<string> = new Set([`udp:${noNameServer}:53`, `${noNameServer}:53`, "127.0.0.1:53"]);

/** What the broker recorded, in words, with what would grant it where something would. */
export function describeDenials(
  records: readonly DenialRecord[],
  architecture: Architecture,
  nameOf: (architecture: Architecture, number: number) => string,
): Denial[] {
  return records.map(({ number, subject, count }) => {
    const call = nameOf(architecture, number);
    if (call === "connect" && askedForNames.has(subject)) {
      const detail = "there is no network: --allow HOST grants a host";
      return { kind: "connect", subject: nameLookup, count, detail };
    }
    if (call === "socket" && subject === udp) {
      const detail = "without namespaces there is TCP alone, for names too: --allow HOST grants a host";
      return { kind: "connect", subject: udp, count, detail };
    }
    if (call === "connect") {
      return { kind: "connect", subject, count, ...grantOf(subject) };
    }
    const file = /^(read|write) (.*)$/s.exec(subject);
    if (file !== null) {
      const [, access = "", path = ""] = file;
      const grant = isGrantable(path, access === "write") ? { grant: `--${access} ${shellWord(path)}` } : {};
      return { kind: "file", subject: path, count, ...grant };
    }
    return { kind: "syscall", subject: call, count };
  });
}

/** TCP alone is carried, which has no port 0; and there are addresses that are never dialled. */
function grantOf(subject: string): Pick<Denial, "grant"> {
  if (/^(?:unix|udp):/.test(subject)) return {};
  const target = readHostPort(subject);
  return target?.port === undefined || reachOf(target.host) === "never" ? {} : { grant: `--allow ${subject}` };
}

/** Whether a flag would help: not where the path is always the sandbox's own, or the caller has no right to it himself. */
function isGrantable(path: string, write: boolean): boolean {
  if (isOwn(path) || (write && path === "/")) return false;
  try {
    // Root can all; but what belongs to the system is shown as it is, to whom the sandbox runs as.
    if (process.geteuid?.() === 0 && systemFolders.some((folder) => isWithin(path, folder)))
      return (statSync(path).mode & (write ? 0o002 : 0o004)) !== 0;
    accessSync(path, write ? constants.W_OK : constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** As a shell is to be given it. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
