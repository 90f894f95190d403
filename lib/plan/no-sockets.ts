import { type Architecture, loadCallTable } from "./seccomp-profile.ts";

/** struct sock_filter codes (linux/bpf_common.h). */
const load = 0x20;
const jumpEqual = 0x15;
const answer = 0x06;
const allow = 0x7fff0000;
const errno = 0x00050000;
const eperm = 1;

/**
 * The filter of the read-only layer: socket and socketpair answer EPERM. It stands on top of the sandbox's own filter,
 * which has checked the architecture already, so it looks at the call's number alone.
 */
export function noSocketsFilter(architecture: Architecture): Uint8Array {
  const { calls } = loadCallTable(architecture);
  const refused = [calls["socket"], calls["socketpair"], calls["connect"]].filter((nr) => nr !== undefined);
  const program: [number, number, number, number][] = [[load, 0, 0, 0]];
  refused.forEach((nr, i) => {
    program.push([jumpEqual, refused.length - i, 0, nr]);
  });
  program.push([answer, 0, 0, allow], [answer, 0, 0, errno | eperm]);
  const bytes = new DataView(new ArrayBuffer(program.length * 8));
  program.forEach(([code, yes, no, k], i) => {
    bytes.setUint16(i * 8, code, true);
    bytes.setUint8(i * 8 + 2, yes);
    bytes.setUint8(i * 8 + 3, no);
    bytes.setUint32(i * 8 + 4, k, true);
  });
  return new Uint8Array(bytes.buffer);
}
