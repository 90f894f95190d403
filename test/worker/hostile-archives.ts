import { crc32, deflateRawSync, gzipSync } from "node:zlib";
import { writeZip } from "../../lib/queue/zip-writer.ts";

/** A member of a tar archive, each field of which can be made wrong. */
export interface TarMember {
  readonly name: string | Uint8Array;
  readonly type?: string;
  readonly data?: string | Uint8Array;
  readonly mode?: number;
  /** Said in the header instead of the data's own. */
  readonly size?: number;
  readonly link?: string;
  readonly prefix?: string;
}

export function tar(members: readonly TarMember[], end = true): Buffer {
  const blocks: Buffer[] = [];
  for (const member of members) {
    const data = Buffer.from(member.data ?? "");
    const header = Buffer.alloc(512);
    Buffer.from(member.name).copy(header, 0, 0, 100);
    header.write(`${(member.mode ?? 0o644).toString(8).padStart(7, "0")}\0`, 100);
    header.write("0000000\0", 108);
    header.write("0000000\0", 116);
    header.write(`${(member.size ?? data.length).toString(8).padStart(11, "0")}\0`, 124);
    header.write("00000000000\0", 136);
    header.write(member.type ?? "0", 156);
    header.write(member.link ?? "", 157);
    header.write("ustar\x0000", 257, "latin1");
    header.write(member.prefix ?? "", 345);
    header.fill(0x20, 148, 156);
    let sum = 0;
    for (const byte of header) sum += byte;
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    blocks.push(header, data, Buffer.alloc((512 - (data.length % 512)) % 512));
  }
  if (end) blocks.push(Buffer.alloc(1024));
  return Buffer.concat(blocks);
}

export function pax(records: Readonly<Record<string, string>>): TarMember {
  const data = Object.entries(records)
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = Buffer.byteLength(rest) + 1;
      while (String(length).length + Buffer.byteLength(rest) !== length) length += 1;
      return `${length}${rest}`;
    })
    .join("");
  return { name: "pax", type: "x", data };
}

const file = (name: string, data = "x", mode = 0o100644): { name: string; data: Buffer; mode: number } => ({
  name,
  data: Buffer.from(data),
  mode,
});

/** Changes some bytes of an archive. */
export function patched(archive: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(archive);
  change(copy);
  return copy;
}

const plain: Buffer = writeZip([file("a/one.txt", "one"), file("a/two.txt", "two")]);
const directory = plain.readUInt32LE(plain.length - 6);

/** One member's content is another member, and the directory names both. */
function nested(): Buffer {
  const inner = writeZip([file("a/inner", "hidden")]);
  const innerStart = inner.readUInt32LE(inner.length - 6);
  const outer = writeZip([{ name: "a/outer", data: inner.subarray(0, innerStart), mode: 0o100644 }]);
  const outerStart = outer.readUInt32LE(outer.length - 6);
  const entries = [outer.subarray(outerStart, -22), Buffer.from(inner.subarray(innerStart, -22))];
  entries[1]?.writeUInt32LE(30 + "a/outer".length, 42);
  const listing = Buffer.concat(entries);
  const end = Buffer.from(outer.subarray(-22));
  end.writeUInt16LE(2, 8);
  end.writeUInt16LE(2, 10);
  end.writeUInt32LE(listing.length, 12);
  return Buffer.concat([outer.subarray(0, outerStart), listing, end]);
}

/** Archives that must be refused whole: nothing of them is to be taken. */
export const refused: Readonly<Record<string, Uint8Array>> = {
  "zip: a parent component": writeZip([file("a/ok"), file("a/../../evil")]),
  "zip: an absolute name": writeZip([file("/etc/evil")]),
  "zip: a drive": writeZip([file("C:/evil")]),
  "zip: a parent by backslash": writeZip([file("a\\..\\..\\evil")]),
  "zip: two members of one name": writeZip([file("a/x", "1"), file("a/x", "2")]),
  "zip: a file that is also a folder": writeZip([file("a/x", "1"), file("a/x/y", "2")]),
  "zip: a name with a NUL": writeZip([file("a/x\0y")]),
  "zip: a name that is not UTF-8": patched(writeZip([file("a/xx")]), (copy) => {
    for (let at = copy.indexOf("xx"); at !== -1; at = copy.indexOf("xx", at + 1)) copy[at] = 0xff;
  }),
  "zip: a bomb": writeZip([{ name: "bomb", data: Buffer.alloc(80 * 1024 * 1024), mode: 0o100644 }]),
  "zip: a bomb that says it is small": patched(
    writeZip([{ name: "bomb", data: Buffer.alloc(80 * 1024 * 1024), mode: 0o100644 }]),
    (copy) => {
      copy.writeUInt32LE(10, 22);
      copy.writeUInt32LE(10, copy.readUInt32LE(copy.length - 6) + 24);
    },
  ),
  "zip: a member inside another": nested(),
  "zip: a directory that names the member otherwise": patched(plain, (copy) => {
    copy.write("a/six.txt", directory + 46);
  }),
  "zip: a wrong checksum": patched(plain, (copy) => {
    copy.writeUInt32LE(1, directory + 16);
  }),
  "zip: encrypted": patched(plain, (copy) => {
    copy.writeUInt16LE(1, directory + 8);
  }),
  "zip: an unknown method": patched(plain, (copy) => {
    copy.writeUInt16LE(99, 8);
    copy.writeUInt16LE(99, directory + 10);
  }),
  "zip: a member beyond the end": patched(plain, (copy) => {
    copy.writeUInt32LE(0x7fffffff, directory + 20);
  }),
  "zip: an offset beyond the end": patched(plain, (copy) => {
    copy.writeUInt32LE(0x7fffffff, directory + 42);
  }),
  "zip: zip64": patched(plain, (copy) => {
    copy.writeUInt16LE(0xffff, copy.length - 14);
    copy.writeUInt16LE(0xffff, copy.length - 12);
  }),
  "zip: more members than it has": patched(plain, (copy) => {
    copy.writeUInt16LE(3, copy.length - 14);
    copy.writeUInt16LE(3, copy.length - 12);
  }),
  "zip: bytes before it": Buffer.concat([plain.subarray(0, 4), Buffer.from("junk"), plain]),
  "zip: cut off": plain.subarray(0, plain.length - 30),
  "zip: nothing but a signature": Buffer.from("PK\x03\x04"),
  "zip: thousands of members": writeZip(Array.from({ length: 10_001 }, (_, index) => file(`f/${index}`, ""))),
  "zip: a very long listing": writeZip(
    Array.from({ length: 9000 }, (_, index) => file(`${"n".repeat(150)}${index}`, "")),
  ),
  "zip: a name that no file can have": writeZip([file(`a/${"n".repeat(300)}`)]),
  "tar: a parent component": tar([
    { name: "a/ok", data: "x" },
    { name: "../evil", data: "x" },
  ]),
  "tar: an absolute name": tar([{ name: "/etc/evil", data: "x" }]),
  "tar: a parent in a pax path": tar([pax({ path: "a/../../evil" }), { name: "fine", data: "x" }]),
  "tar: a parent in a GNU long name": tar([
    { name: "././@LongLink", type: "L", data: "../../evil\0" },
    { name: "fine", data: "x" },
  ]),
  "tar: a parent in the prefix": tar([{ name: "evil", data: "x", prefix: ".." }]),
  "tar: a size beyond the end": tar([{ name: "a", data: "x", size: 1_000_000 }]),
  "tar: a negative size": tar([{ name: "a", data: "x", size: -1 }]),
  "tar: an enormous size": patched(tar([{ name: "a", data: "x" }]), (copy) => {
    copy.fill(0x20, 148, 156);
    copy.fill(0xff, 124, 136);
    let sum = 0;
    for (const byte of copy.subarray(0, 512)) sum += byte;
    copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  }),
  "tar: a wrong checksum": patched(tar([{ name: "a", data: "x" }]), (copy) => {
    copy[0] = 0x62;
  }),
  "tar: no end": tar([{ name: "a", data: "x" }], false),
  "tar: a sparse file": tar([pax({ "GNU.sparse.major": "1" }), { name: "a", data: "x" }]),
  "tar: a hard link with content, which is a member to some": tar([
    { name: "a", type: "1", link: "b", data: tar([{ name: "hidden", data: "x" }], false) },
  ]),
  "tar: an unknown type": tar([{ name: "a", type: "Z", data: "x" }]),
  "tar: a path for all members": tar([
    { ...pax({ path: "evil" }), type: "g" },
    { name: "a", data: "x" },
  ]),
  "tar: a broken extended header": tar([
    { name: "pax", type: "x", data: "99 path=x\n" },
    { name: "a", data: "x" },
  ]),
  "tar: an extended header without an end": tar([{ name: "pax", type: "x", data: "9999999999999 path=x\n" }]),
  "tar: a name that is not UTF-8": tar([{ name: Buffer.from([0x61, 0xff]), data: "x" }]),
  "tar: two members of one name": tar([
    { name: "a", data: "1" },
    { name: "./a", data: "2" },
  ]),
  "tar: thousands of members": tar(Array.from({ length: 10_001 }, (_, index) => ({ name: `f${index}` }))),
  "gzip: a bomb": gzipSync(Buffer.alloc(200 * 1024 * 1024)),
  "gzip: damaged": patched(gzipSync(tar([{ name: "a", data: "x".repeat(1000) }])), (copy) => {
    copy[20] = (copy[20] ?? 0) ^ 0xff;
  }),
  "gzip: in gzip": gzipSync(gzipSync(tar([{ name: "a", data: "x" }]))),
  "no archive": Buffer.from("<html>not found</html>".repeat(100)),
  "random bytes": Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7919) % 251)),
  empty: Buffer.alloc(0),
};

/** Archives with members that are left out, and what is taken of them all the same. */
export const partly: Readonly<Record<string, readonly [Uint8Array, readonly string[]]>> = {
  "zip: a symbolic link": [
    writeZip([file("s/SKILL.md"), file("s/link", "/etc/passwd", 0o120777), file("s/link2", "..", 0o120777)]),
    ["SKILL.md"],
  ],
  "zip: a device and a fifo": [
    writeZip([file("s/SKILL.md"), file("s/dev", "", 0o020666), file("s/fifo", "", 0o010666)]),
    ["SKILL.md"],
  ],
  "tar: links, a device and a fifo": [
    tar([
      { name: "s/", type: "5" },
      { name: "s/SKILL.md", data: "x" },
      { name: "s/sym", type: "2", link: "/etc" },
      { name: "s/hard", type: "1", link: "/etc/passwd" },
      { name: "s/char", type: "3" },
      { name: "s/block", type: "4" },
      { name: "s/fifo", type: "6" },
    ]),
    ["SKILL.md"],
  ],
};

export { crc32, deflateRawSync, file, plain };
