import { randomBytes } from "node:crypto";
import { deflateRawSync, gzipSync, zstdCompressSync } from "node:zlib";
import test from "ava";
import { defaultLeakGuard, type LeakGuardSettings } from "../../lib/policy/leak-guard.ts";
import { LeakGuard } from "../../lib/secrets/leak-guard.ts";
import { inMemory } from "../../lib/secrets/packed.ts";
import { type KnownSecrets, SecretSearch } from "../../lib/secrets/secret-search.ts";

const secret = Buffer.from("n4rrow-secret-with-odd_characters");
const known: KnownSecrets = () => [["the key", secret]];
const found = [{ what: "the key", form: "plain, packed", action: "redact" }];

function packedIn(bytes: Buffer, settings: Partial<LeakGuardSettings> = {}, secrets = known) {
  const guard = new LeakGuard({ ...defaultLeakGuard, ...settings }, () => false, new SecretSearch(secrets));
  return guard.packed(inMemory(bytes));
}

const text = Buffer.concat([Buffer.from("x".repeat(300_000)), secret, Buffer.from("y".repeat(10))]);

function zip(members: readonly (readonly [name: string, content: Buffer, method: 0 | 8])[]): Buffer {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let at = 0;
  for (const [name, content, method] of members) {
    const packed = method === 8 ? deflateRawSync(content) : content;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(content.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    entries.push(entry, Buffer.from(name));
    parts.push(local, Buffer.from(name), packed);
    at += 30 + name.length + packed.length;
  }
  const directory = Buffer.concat(entries);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, directory, end]);
}

const other = Buffer.from("nothing");
const packings: Readonly<Record<string, Buffer>> = {
  gzip: gzipSync(text),
  "gzip in two parts": Buffer.concat([gzipSync(text.subarray(0, 300_010)), gzipSync(text.subarray(300_010))]),
  "gzip that is cut off": gzipSync(Buffer.concat([text, randomBytes(200_000)])).subarray(0, -5),
  zstd: zstdCompressSync(text),
  "a zip archive": zip([
    ["a", other, 0],
    ["b", text, 8],
  ]),
  "a zip archive that does not compress": zip([["a", gzipSync(text), 0]]),
  "gzip in a zip archive in zstd": zstdCompressSync(zip([["a.gz", gzipSync(text), 8]])),
};
for (const [name, bytes] of Object.entries(packings))
  test(`A known secret is found in ${name}`, async (t) => {
    t.deepEqual(await packedIn(bytes), found);
    t.deepEqual(await packedIn(bytes, {}, () => []), []);
  });

test("What packs nothing, or nothing that can be read, holds nothing", async (t) => {
  const broken = zip([["a", text, 8]]);
  broken.fill(0xff, 31, 80);
  for (const bytes of [Buffer.alloc(0), Buffer.from("PK"), Buffer.from("PK\u0003\u0004 and no more"), text, broken])
    t.deepEqual(await packedIn(bytes), []);
});

test("What is packed too deep to be read is kept back, unless nothing is known or the policy lets it go", async (t) => {
  let bytes = text;
  for (let depth = 0; depth < 5; depth++) bytes = gzipSync(bytes);
  const unread = (await packedIn(bytes))[0];
  t.like(unread, { what: "packed data that is too much to be searched", action: "redact" });
  t.like((await packedIn(bytes, { action: "warn" }))[0], { action: "warn" });
  t.deepEqual(await packedIn(bytes, {}, () => []), []);
});
