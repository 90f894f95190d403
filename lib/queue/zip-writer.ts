import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";

/** One member of a zip archive. */
export interface ZipMember {
  /** Path with `/`; a folder's ends in one. */
  readonly name: string;
  readonly data: Uint8Array;
  /** The Unix mode with its type bits, such as 0o100644. */
  readonly mode: number;
}

/** A zip archive (APPNOTE 6.3.3: deflate, no encryption, no zip64, made on Unix). */
export function writeZip(members: readonly ZipMember[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const member of members) {
    const name = Buffer.from(member.name);
    const packed = deflateRawSync(member.data);
    const stored = packed.length >= member.data.length;
    const body = stored ? Buffer.from(member.data) : packed;
    // The fields that the local header and the directory entry share: version needed, flags (UTF-8 names), method, time.
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(0x0800, 2);
    shared.writeUInt16LE(stored ? 0 : 8, 4);
    shared.writeUInt16LE(0, 6);
    shared.writeUInt16LE(0x21, 8);
    shared.writeUInt32LE(crc32(member.data), 10);
    shared.writeUInt32LE(body.length, 14);
    shared.writeUInt32LE(member.data.length, 18);
    shared.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), shared, name, body]);
    const entry = Buffer.alloc(46);
    entry.write("PK\x01\x02", 0, "latin1");
    entry.writeUInt16LE((3 << 8) | 20, 4);
    shared.copy(entry, 6);
    entry.writeUInt32LE((member.mode << 16) >>> 0, 38);
    entry.writeUInt32LE(offset, 42);
    directory.push(entry, name);
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}

/** Packs a folder's regular files, under one top folder as skills are packed. Links are left out. */
export function packFolder(folder: string, top: string): Buffer {
  const members: ZipMember[] = [];
  const walk = (path: string, name: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const at = join(path, entry.name);
      if (entry.isDirectory()) walk(at, `${name}${entry.name}/`);
      else if (entry.isFile()) {
        const executable = (lstatSync(at).mode & 0o111) !== 0;
        members.push({
          name: `${name}${entry.name}`,
          data: readFileSync(at),
          mode: executable ? 0o100755 : 0o100644,
        });
      }
    }
  };
  walk(folder, `${top}/`);
  return writeZip(members);
}
