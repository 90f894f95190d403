import type { DenialRecord } from "../native.ts";
import type { Architecture } from "../plan/seccomp-profile.ts";
import type { Denial } from "./types.ts";

/** What the broker recorded, in words, with what would grant it where something would. */
export function describeDenials(
  records: readonly DenialRecord[],
  architecture: Architecture,
  nameOf: (architecture: Architecture, number: number) => string,
): Denial[] {
  return records.map(({ number, subject, count }) => {
    const call = nameOf(architecture, number);
    if (call === "connect") {
      return subject.startsWith("unix:")
        ? { kind: "connect", subject, count }
        : {
            kind: "connect",
            subject,
            count,
            grant: "a network_policies rule for this host (egress is not in this version)",
          };
    }
    const file = /^(read|write) (.*)$/s.exec(subject);
    if (file !== null) {
      return { kind: "file", subject: file[2] ?? "", count, grant: `--${file[1]} ${file[2]}` };
    }
    return { kind: "syscall", subject: call, count };
  });
}
