// The search itself: it finds a secret wherever one lies, in whatever form, or its silence says nothing.
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { scratchFolder } from "../sandbox/session.ts";
import { searchWorld } from "./world-search.ts";

const secret = "qZ7-planted.by/the=test+09_xY";
const half = Math.ceil(secret.length / 2);
const bytes = Buffer.from(secret);

/** Each planted alone: the form by which it is found. */
const forms: Readonly<Record<string, string>> = {
  plain: secret,
  "as in a URL": encodeURIComponent(secret),
  "percent-encoded": [...bytes].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  "in JSON": JSON.stringify(`${secret}`),
  hex: bytes.toString("hex").toUpperCase(),
  reversed: [...secret].reverse().join(""),
  "UTF-16": Buffer.from(secret, "utf16le").toString("latin1"),
  "with spaces": [...secret].join(" "),
  "on lines": [...secret].join("\n"),
  "its first half": secret.slice(0, half),
  "its second half": secret.slice(half),
  "base64, shifted by 0": bytes.toString("base64"),
  "base64, shifted by 1": Buffer.concat([Buffer.from("x"), bytes]).toString("base64"),
  "base64, shifted by 2": Buffer.concat([Buffer.from("xy"), bytes]).toString("base64"),
  "base64url, shifted by 0": bytes.toString("base64url"),
};

test("Each form of a secret is found in what was said, and nothing where there is none", (t) => {
  for (const [form, text] of Object.entries(forms)) {
    const { finds } = searchWorld({
      secrets: ["another secret, not there", secret],
      said: { log: `before ${text} after` },
    });
    t.true(
      finds.some((line) => line === `1: ${form} in log`),
      `${form}: ${finds.join(", ")}`,
    );
    t.false(finds.some((line) => line.startsWith("0: ")));
  }
  const said = { result: { text: "nothing" }, records: [1, null, "x"], bytes: Buffer.alloc(100) };
  t.deepEqual(searchWorld({ secrets: [secret], said }).finds, []);
});

/** Puts it in each place by itself; the halves meet where they are to be found and nowhere else. */
const plants = `
import ctypes, os, sys
first, second = sys.argv[1], sys.stdin.readline().strip()
secret = first + second
def write(path, text):
    with open(path, "w") as file: file.write(text)
os.mkdir("/tmp/deep"); write("/tmp/deep/file", "x" * 5000000 + secret)
write("workspace", secret)
write("core.1234", secret)
write("/tmp/name-" + secret.replace("/", "-") + "-" , "")
os.symlink(secret, "/tmp/link")
gone = os.open("/tmp/gone", os.O_RDWR | os.O_CREAT); os.unlink("/tmp/gone"); os.write(gone, secret.encode())
memory = os.memfd_create("m"); os.write(memory, secret.encode())
kept = ctypes.create_string_buffer(secret.encode())
if os.fork() == 0: os.execve("/bin/sh", ["sh", "-c", "read line", secret], {"KEY": secret})
print("planted", flush=True)
sys.stdin.readline()
`;

test("It is found in memory, environment, arguments, files, names, links, descriptors and core dumps", async (t) => {
  const workdir = scratchFolder(t);
  const outside = scratchFolder(t);
  mkdirSync(join(outside, "deep"));
  writeFileSync(join(outside, "deep", "receipt"), secret);
  await using sandbox = await Sandbox.create({ workdir, policy: sound(runnable()) });
  const child = sandbox.spawn("python3", ["-c", plants, secret.slice(0, 5)]);
  child.stdin?.write(`${secret.slice(5)}\n`);
  await once(child.stdout as NodeJS.ReadableStream, "data");
  const { init } = sandbox.description as { init: number };
  const { finds, processes, unreadable, regions, files } = searchWorld({ secrets: [secret], init, folders: [outside] });
  child.stdin?.end("\n");
  await once(child, "close");
  const plain = finds.filter((line) => line.startsWith("0: plain in ")).join("\n");
  for (const place of [
    /the link \/tmp\/link$/m,
    /in \/tmp\/deep\/file$/m,
    /\/workspace$/m,
    /\/core\.1234$/m,
    /in \/deep\/receipt$/m,
    /\/proc\/environ of \d+$/m,
    /\/proc\/cmdline of \d+$/m,
    /descriptor \d+ of \d+$/m,
    /memory of \d+$/m,
  ])
    t.regex(plain, place);
  t.true(finds.some((line) => line.includes("the name /tmp/name-")));
  t.true(processes >= 3 && regions > 10 && files > 20);
  t.true(unreadable <= 1);
});
