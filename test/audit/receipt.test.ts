import { spawnSync } from "node:child_process";
import { generateKeyPairSync, hash, type KeyObject } from "node:crypto";
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { type Envelope, openEnvelope, signStatement } from "../../lib/audit/dsse.ts";
import { ReceiptRecorder, statementType } from "../../lib/audit/receipt.ts";
import { checkReceipt, compareFiles, type Receipt } from "../../lib/audit/receipt-check.ts";
import { makeKey, publicKeyFile, readKey, readPublicKey } from "../../lib/audit/receipt-key.ts";
import { HoldfastError } from "../../lib/errors.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { Mode } from "../../lib/sandbox/types.ts";
import { makeFiles, scratchFolder } from "../sandbox/session.ts";

const { privateKey: key, publicKey } = generateKeyPairSync("ed25519");
const other = generateKeyPairSync("ed25519");

const gone = { initExited: true, processesGone: true, foldersCleared: true, controlSocketRemoved: true };
const about = {
  sandbox: "one",
  policy: { source: "policy.yaml", sha256: "00" },
  host: { name: "h", kernel: "6", architecture: "x64" },
  version: "0",
  mode: "namespaces",
  workspace: { mode: "overlay", access: "read-write", path: "/w" },
  walls: [],
};

const signed = (statement: object = new ReceiptRecorder(about).statement(gone), by: KeyObject = key): Envelope =>
  signStatement(statement, by);

const check = (envelope: object, by: KeyObject = publicKey): Receipt => checkReceipt(JSON.stringify(envelope), by);

const invalid = { code: "ERR_HOLDFAST_RECEIPT_INVALID" };

test("A receipt that is as it was signed holds, and with any byte of payload or signature changed it does not", (t) => {
  const envelope = signed();
  t.is((check(envelope).predicate as { sandbox: string }).sandbox, "one");
  t.notThrows(() => check(envelope, key), "the private key knows its public half");
  const changed = (text: string): string[] => {
    const bytes = Buffer.from(text, "base64");
    return [...bytes.keys()].map((at) => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 1;
      return copy.toString("base64");
    });
  };
  const [signature] = envelope.signatures;
  if (signature === undefined) return t.fail();
  // Not by t.throws, which takes a thousand times as long as the check.
  const faultOf = (one: Envelope): unknown => {
    try {
      return check(one);
    } catch (error) {
      return HoldfastError.is(error) && /was changed/.test(error.message) ? error.code : error;
    }
  };
  const faults = [
    ...changed(envelope.payload).map((payload) => faultOf({ ...envelope, payload })),
    ...changed(signature.sig).map((sig) => faultOf({ ...envelope, signatures: [{ ...signature, sig }] })),
  ];
  t.true(faults.length > 1000);
  t.deepEqual([...new Set(faults)], ["ERR_HOLDFAST_RECEIPT_INVALID"]);
});

test("An envelope that is none, of another type, by another key, or written in another way does not hold", (t) => {
  const envelope = signed();
  const { payload } = envelope;
  const [signature] = envelope.signatures;
  for (const [text, message] of [
    ["", /not JSON/],
    ["[]", /no DSSE envelope/],
    [JSON.stringify(envelope).replace("{", `{"payload":"e30=",`), /could be read in two ways/],
    [JSON.stringify(envelope).replace("payloadType", "payload\\u0054ype"), /could be read in two ways/],
    [JSON.stringify({ ...envelope, extra: 1 }), /an envelope has no "extra"/],
    [JSON.stringify({ ...envelope, payloadType: "text/plain" }), /its payload is "text\/plain"/],
    [JSON.stringify({ ...envelope, payload: `${payload}\n` }), /not base64 as it is written here/],
    [JSON.stringify({ ...envelope, payload: `${payload}=` }), /not base64 as it is written here/],
    [JSON.stringify({ ...envelope, signatures: [] }), /signed by another key \(none\)/],
    [JSON.stringify({ ...envelope, signatures: [{ ...signature, keyid: "" }] }), /signed by another key/],
    [JSON.stringify(signed(undefined, other.privateKey)), /signed by another key/],
    [JSON.stringify(signed({ _type: "x" })), /its statement is "x"/],
    [
      JSON.stringify(signed({ _type: statementType, predicateType: "https://slsa.dev/provenance/v1" })),
      /it says "https:/,
    ],
  ] as const) {
    t.throws(() => checkReceipt(text, publicKey), { ...invalid, message });
  }
});

test("OpenSSL agrees with the signature over DSSE's pre-authentication encoding", (t) => {
  if (spawnSync("openssl", ["version"]).status !== 0) {
    t.log("skipped: no openssl");
    t.pass();
    return;
  }
  const folder = scratchFolder(t);
  const { payload, payloadType, signatures } = signed();
  const bytes = Buffer.from(payload, "base64");
  const files = makeFiles(folder, {
    message: Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${bytes.length} `), bytes]),
    signature: Buffer.from(signatures[0]?.sig ?? "", "base64"),
    key: publicKey.export({ type: "spki", format: "pem" }),
  });
  const args = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key", "-in", "message", "-sigfile", "signature"];
  const { status, stdout, stderr } = spawnSync("openssl", args, { cwd: files, encoding: "utf8" });
  t.is(status, 0, stdout + stderr);
});

test("Keys are made for this user alone, never over another, and read only where no others may", (t) => {
  const folder = scratchFolder(t);
  const file = join(folder, "deep", "receipt.key");
  const made = makeKey(file);
  t.is(made.publicKeyFile, publicKeyFile(file));
  t.is(statSync(file).mode & 0o777, 0o600);
  t.notThrows(() => openEnvelope(JSON.stringify(signed(undefined, readKey(file))), readPublicKey(made.publicKeyFile)));
  const before = readFileSync(file);
  const code = "ERR_HOLDFAST_RECEIPT_KEY";
  t.throws(() => makeKey(file), { code, message: /is there already/ });
  t.deepEqual(readFileSync(file), before);
  symlinkSync(file, join(folder, "mounted"));
  chmodSync(file, 0o440);
  t.notThrows(() => readKey(join(folder, "mounted")), "as Kubernetes mounts it");
  chmodSync(file, 0o644);
  t.throws(() => readKey(file), { code, message: /may be read or written by others \(mode 644\)/ });
  const rsa = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const locked = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" } as const;
  makeFiles(folder, { ec: rsa.export({ type: "pkcs8", format: "pem" }), locked: key.export(locked), empty: "" });
  for (const [name, message] of [
    ["ec", /is a key for ec, not Ed25519/],
    ["locked", /needs a passphrase/],
    ["empty", /no key in PEM/],
    ["none", /does not exist/],
  ] as const) {
    if (name !== "none") chmodSync(join(folder, name), 0o600);
    t.throws(() => readKey(join(folder, name)), { code, message });
  }
});

interface Listed {
  readonly items: readonly Record<string, unknown>[];
  readonly others: number;
}

test("Records are folded to names and counts, in bounds", (t) => {
  const recorder = new ReceiptRecorder(about);
  const to = { host: "api.example.com", port: 443 };
  const connection = { type: "connection", program: "/usr/bin/curl", sha256: "aa", ...to };
  for (const event of [
    { ...connection, allowed: true },
    { ...connection, allowed: true },
    { ...connection, allowed: false, host: "evil.example" },
    { ...connection, type: "request", method: "POST", path: "/bot12345:SECRET/x", allowed: false },
    {
      type: "credential.used",
      credentials: ["github"],
      program: "/usr/bin/curl",
      ...to,
      method: "GET",
      path: "/SECRET",
    },
    { ...connection, type: "request", method: "GET", path: "/SECRET", allowed: true, credentials: ["github", "other"] },
    { ...connection, type: "request", method: "GET", path: "/SECRET", allowed: false, credentials: ["never"] },
    { ...connection, type: "request", method: "GET", path: "/late", allowed: true, credentials: ["late", "github"] },
    {
      ...{ ...connection, type: "request", method: "GET", path: "/late", allowed: false, reason: "credential" },
      credential: "late",
    },
    { type: "name.refused", name: "evil.example" },
    { type: "credential.refused", credential: "github", program: null, host: "evil.example", port: 443, detail: "no" },
    { type: "credential.token", credential: "app", ...to, status: 200 },
    { type: "inference", route: "local", model: "m", inputTokens: 2, outputTokens: 3 },
    { type: "inference", route: "local", model: "m", inputTokens: 1, outputTokens: 0, fault: "timeout" },
    { type: "program.changed", program: "/usr/bin/curl", sha256: "aa", expected: "bb" },
    { type: "denied", kind: "syscall", subject: "ptrace", count: 3 },
    { type: "call.started", file: "make" },
    { type: "call.ended", file: "make", exitCode: null, signal: "SIGKILL", limit: "memory" },
    { type: "tool.called", tool: "bash", isError: true },
    { type: "network.killed", connections: 1 },
    { type: "change.applied", path: "a", kind: "added", sha256: "cc" },
  ]) {
    recorder.note({ sandbox: "one", ...event });
  }
  for (let i = 0; i < 1500; i++)
    recorder.note({ type: "denied", sandbox: "one", kind: "file", subject: `${i}`, count: 1 });
  const { predicate, subject } = check(signed(recorder.statement({ ...gone, foldersCleared: false })));
  const list = (name: string): Listed => predicate[name] as Listed;
  t.deepEqual(subject, [{ name: "policy.yaml", digest: { sha256: "00" } }]);
  t.deepEqual(list("connected").items, [{ ...to, program: "/usr/bin/curl", count: 2 }]);
  t.deepEqual(list("programs").items, [{ path: "/usr/bin/curl", sha256: "aa", by: "connection", count: 3 }]);
  t.deepEqual(list("injected").items, [
    { credential: "github", ...to, count: 3 },
    { credential: "other", ...to, count: 1 },
  ]);
  t.deepEqual(list("tokens").items, [{ credential: "app", ...to, count: 1 }]);
  t.deepEqual(list("models").items, [
    { route: "local", model: "m", inputTokens: 3, outputTokens: 3, failed: 1, count: 2 },
  ]);
  t.deepEqual(list("refused").items.slice(0, 8), [
    { kind: "connect", subject: "evil.example:443", program: "/usr/bin/curl", count: 1 },
    { kind: "request", subject: "POST at api.example.com:443", program: "/usr/bin/curl", count: 1 },
    { kind: "request", subject: "GET at api.example.com:443", program: "/usr/bin/curl", count: 2 },
    { kind: "name", subject: "evil.example", count: 1 },
    { kind: "credential", subject: "github to evil.example:443", count: 1 },
    { kind: "program", subject: "/usr/bin/curl", count: 1 },
    { kind: "syscall", subject: "ptrace", count: 3 },
    { kind: "limit", subject: "memory", count: 1 },
  ]);
  t.is(list("refused").items.length, 1000);
  t.is(list("refused").others, 508);
  t.deepEqual(list("calls").items, [{ file: "make", failed: 1, count: 1 }]);
  t.deepEqual(list("tools").items, [{ tool: "bash", failed: 1, count: 1 }]);
  t.deepEqual(predicate["applied"], [{ path: "a", kind: "added", sha256: "cc" }]);
  t.true(predicate["networkKilled"]);
  t.like(predicate["teardown"], { foldersCleared: false, isGone: false });
  t.false(JSON.stringify(predicate).includes("SECRET"));
});

async function attested(t: ExecutionContext, mode: Mode): Promise<{ sandbox: Sandbox; to: string; receipt: Receipt }> {
  const folder = scratchFolder(t);
  const workdir = makeFiles(join(folder, "project"), { "tool.sh": "#!/bin/sh\necho made > report.md\n" });
  chmodSync(join(workdir, "tool.sh"), 0o755);
  const input = makeFiles(folder, { input: "in\n" });
  const to = join(folder, "out");
  const sandbox = await Sandbox.create({ workdir, workspace: "overlay", mode, receiptKey: key });
  t.teardown(() => sandbox.dispose());
  await sandbox.exec("./tool.sh", ["SECRET-ARGUMENT"], { env: { TOKEN: "SECRET-VALUE" } });
  await sandbox.exec("chroot", ["/", "true"], { env: { PATH: "/none:/usr/sbin:/usr/bin" } });
  await t.throwsAsync(sandbox.exec("no-such-program"));
  await sandbox.importFiles([join(input, "input")]);
  await sandbox.extractPaths(["report.md"], to, { dryRun: true });
  await sandbox.extractPaths(["report.md"], to);
  t.is(sandbox.receipt, null);
  sandbox.applyPolicy({ ...sandbox.policy, source: "second" });
  await sandbox.apply();
  await sandbox.dispose();
  if (sandbox.receipt === null) throw new Error("there is no receipt");
  return { sandbox, to, receipt: check(sandbox.receipt) };
}

for (const mode of ["namespaces", "landlock"] as const) {
  test(`A sandbox leaves a receipt of what ran, was refused and left, and that it is gone (${mode})`, async (t) => {
    const { sandbox, to, receipt } = await attested(t, mode);
    const { predicate, subject } = receipt;
    const sha256 = (text: string): string => hash("sha256", text);
    t.deepEqual(subject, [{ name: "report.md", digest: { sha256: sha256("made\n") } }]);
    t.deepEqual(predicate["extracted"], [{ path: "report.md", bytes: 5, sha256: sha256("made\n") }]);
    t.deepEqual(predicate["imported"], [{ path: "input", bytes: 3, sha256: sha256("in\n") }]);
    t.deepEqual(predicate["applied"], [
      { path: "input", kind: "added", sha256: sha256("in\n") },
      { path: "report.md", kind: "added", sha256: sha256("made\n") },
    ]);
    t.like(predicate["policy"], { source: "<preset default>", sha256: sha256(JSON.stringify(sandbox.policy)) });
    t.like(predicate["laterPolicies"], [{ source: "second" }]);
    const programs = (predicate["programs"] as Listed).items;
    const named = (end: string) => programs.find(({ path }) => String(path).endsWith(end));
    t.is(named("/tool.sh")?.["sha256"], sha256("#!/bin/sh\necho made > report.md\n"));
    const chroot = ["/usr/sbin/chroot", "/usr/bin/chroot"].find((path) => existsSync(path)) ?? "";
    t.is(named("bin/chroot")?.["sha256"], hash("sha256", readFileSync(chroot)));
    t.is(named("no-such-program")?.["sha256"], null);
    const refused = (predicate["refused"] as Listed).items;
    t.true(refused.some(({ kind, subject: what }) => kind === "syscall" && what === "chroot"));
    t.deepEqual(
      (predicate["calls"] as Listed).items.map(({ file, failed }) => [file, failed]),
      [
        ["./tool.sh", 0],
        ["chroot", 1],
        ["no-such-program", 1],
      ],
    );
    t.like(predicate["teardown"], { initExited: true, foldersCleared: true, controlSocketRemoved: true });
    if (mode === "namespaces") t.like(predicate["teardown"], { processesGone: true, isGone: true });
    t.false(JSON.stringify(predicate).includes("SECRET"));
    t.deepEqual(compareFiles(receipt, to), []);
    writeFileSync(join(to, "report.md"), "other\n");
    t.deepEqual(compareFiles(receipt, to), ["report.md is not what has left"]);
  });
}

test("A key that cannot sign a receipt is refused before anything runs", async (t) => {
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const workdir = scratchFolder(t);
  await t.throwsAsync(Sandbox.create({ workdir, receiptKey: ec }), { code: "ERR_HOLDFAST_OPTION" });
  await t.throwsAsync(Sandbox.create({ workdir, receiptKey: publicKey }), { code: "ERR_HOLDFAST_OPTION" });
});
