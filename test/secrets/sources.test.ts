import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test, { type ExecutionContext } from "ava";
import type { SecretSource } from "../../lib/policy/credentials.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { Secret } from "../../lib/secrets/secret.ts";
import { SessionCredentials } from "../../lib/secrets/session.ts";
import type { Shown } from "../../lib/secrets/shown.ts";
import { readSource, SecretError } from "../../lib/secrets/sources.ts";
import { runnable, sound } from "../policy/policy-text.ts";

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), "holdfast-sources-"));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function command(script: string, timeoutMs = 5000): SecretSource {
  return { kind: "command", argv: ["/bin/sh", "-c", script], ttlMs: 1, timeoutMs };
}

async function said(source: SecretSource): Promise<string> {
  const found = await readSource(source);
  return found?.bytes.toString() ?? "nothing";
}

test("A secret is read from a variable, a file, a service's credentials and a command, without its line end", async (t) => {
  const path = join(folder(t), "key");
  writeFileSync(path, "from a file\r\n");
  process.env["HOLDFAST_TEST_SOURCE"] = "from a variable";
  process.env["CREDENTIALS_DIRECTORY"] = join(path, "..");
  t.is(await said({ kind: "env", name: "HOLDFAST_TEST_SOURCE" }), "from a variable");
  t.is(await said({ kind: "file", path }), "from a file");
  t.is(await said({ kind: "systemd", name: "key" }), "from a file");
  t.is(await said(command("echo from a command")), "from a command");
});

for (const [title, bytes, message] of [
  ["an empty one", "", /is empty/],
  ["a line end alone", "\n", /is empty/],
  ["two lines", "sesame\nsesame", /holds a line end/],
  ["two line ends", "sesame\n\n", /holds a line end/],
  ["a carriage return", "ses\rame", /holds a line end/],
  ["a NUL", "ses\0ame", /holds a NUL/],
  ["a control character", "ses\x1bame", /holds a control character/],
  ["a character that is not ASCII", "sesam\u00e9", /is not ASCII/],
  ["a space at its end", "sesame ", /begins or ends with a space/],
  ["a long one", `sesame${"x".repeat(5000)}`, /longer than/],
] as const) {
  test(`Refused, and not repeated: ${title}`, async (t) => {
    const path = join(folder(t), "key");
    writeFileSync(path, bytes);
    const error = await t.throwsAsync(readSource({ kind: "file", path }), { instanceOf: SecretError, message });
    t.notRegex(error?.message ?? "", /ses.?am/);
    process.env["HOLDFAST_TEST_BAD"] = bytes.replaceAll("\0", "\x01");
    await t.throwsAsync(readSource({ kind: "env", name: "HOLDFAST_TEST_BAD" }), { instanceOf: SecretError });
  });
}

test("What is not there, no regular file, or a pipe that nobody writes to, is refused at once", async (t) => {
  const made = folder(t);
  execFileSync("mkfifo", [join(made, "pipe")]);
  symlinkSync("circle", join(made, "circle"));
  for (const [name, message] of [
    ["absent", /is not there/],
    ["pipe", /no regular file/],
    [".", /no regular file/],
    ["circle", /in a circle/],
  ] as const)
    await t.throwsAsync(readSource({ kind: "file", path: join(made, name) }), { instanceOf: SecretError, message });
  await t.throwsAsync(readSource({ kind: "file", path: "/dev/zero" }), { message: /no regular file/ });
  await t.throwsAsync(readSource({ kind: "env", name: "HOLDFAST_TEST_UNSET" }), { message: /is not set/ });
});

test("A command that hangs is ended with all that it started, and one that fails is told without what it printed", async (t) => {
  const mark = join(folder(t), "mark");
  await t.throwsAsync(readSource(command(`(sleep 300; echo > ${mark}) & echo secret; exec sleep 300`, 300)), {
    instanceOf: SecretError,
    message: "the command /bin/sh does not end within 0.3 s",
  });
  // What was killed may be on its way out.
  const runs = (): boolean => spawnSync("pgrep", ["-f", mark]).status === 0;
  const until = performance.now() + 10_000;
  while (runs() && performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
  t.false(runs());
  await t.throwsAsync(readSource(command("echo secret; exit 3")), {
    message: "the command /bin/sh ended with status 3",
  });
  await t.throwsAsync(readSource({ ...command(""), argv: ["/nowhere"] } as SecretSource), {
    message: /the command \/nowhere is not there/,
  });
});

test("A secret that a file is replaced by counts without a restart, and what fails later is wiped", async (t) => {
  const path = join(folder(t), "key");
  writeFileSync(path, "first");
  const secret = new Secret("x", { kind: "file", path });
  t.is(secret.bytes, null);
  await secret.refresh();
  t.true(secret.isFresh);
  const first = secret.bytes;
  t.is(first?.toString(), "first");
  await secret.refresh();
  t.is(secret.bytes, first, "an unchanged file is not read again");
  writeFileSync(`${path}.new`, "second one");
  renameSync(`${path}.new`, path);
  await secret.refresh();
  t.is(secret.bytes?.toString(), "second one");
  t.is(first?.toString(), "\0".repeat(5));
  const second = secret.bytes;
  rmSync(path);
  await t.throwsAsync(secret.refresh(), { instanceOf: SecretError });
  t.is(secret.bytes, null);
  t.is(second?.toString(), "\0".repeat(10));
});

test("A command that fails at the third call leaves no secret, and is asked again at the next", async (t) => {
  const made = folder(t);
  const secret = new Secret("x", command(`cd ${made} && echo x >> n && [ $(wc -l < n) != 3 ] && wc -l < n`));
  await secret.refresh();
  await secret.refresh();
  t.is(secret.bytes?.toString(), "2");
  await t.throwsAsync(secret.refresh(), { message: /ended with status 1/ });
  t.is(secret.bytes, null);
  await secret.refresh();
  t.is(secret.bytes?.toString(), "4");
});

test("A wiped secret stays so, whatever is still being read", async (t) => {
  const secret = new Secret("x", command("echo late"));
  const reading = secret.refresh();
  secret.wipe();
  await reading;
  t.is(secret.bytes, null);
});

const shown = (...seen: readonly string[]): Shown => ({ seen, written: [] });

test("A command that the sandbox could change, and the launcher would run, is refused", async (t) => {
  const [workdir, elsewhere] = [folder(t), folder(t)];
  for (const each of [workdir, elsewhere])
    writeFileSync(join(each, "print.sh"), "#!/bin/sh\necho abcdefgh\n", { mode: 0o755 });
  symlinkSync(join(elsewhere, "print.sh"), join(workdir, "link.sh"));
  const policy = (...argv: readonly string[]): ReturnType<typeof sound> =>
    sound(`${runnable(elsewhere)}network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  one: { source: { command: ${JSON.stringify(argv)} }, env: ONE, network_policy: api, format: generic }
`);
  const refused = { code: "ERR_HOLDFAST_CREDENTIAL", message: /can be changed in the sandbox, which writes to / };
  for (const argv of [[join(workdir, "print.sh")], ["/bin/sh", join(workdir, "print.sh")], [join(workdir, "link.sh")]])
    await t.throwsAsync(Sandbox.create({ workdir, policy: policy(...argv) }), refused, argv.join(" "));
  // What it only reads, and what it writes to a layer of its own, stays as it is.
  await (await Sandbox.create({ workdir, policy: policy(join(elsewhere, "print.sh")) })).dispose();
  const overlaid = { workdir, workspace: "overlay", policy: policy(join(workdir, "print.sh")) } as const;
  await (await Sandbox.create(overlaid)).dispose();
});

test("A secret that the sandbox would see is refused, whatever links lead to it", async (t) => {
  const made = folder(t);
  const [workdir, elsewhere] = [join(made, "work"), join(made, "elsewhere")];
  for (const each of [workdir, elsewhere]) mkdirSync(each);
  writeFileSync(join(workdir, "key"), "key");
  symlinkSync(join(workdir, "key"), join(elsewhere, "link"));
  const { credentials = {} } = sound(`holdfast: 1
filesystem_policy: { read_only: [/usr] }
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  one: { source: { file: ${join(elsewhere, "link")} }, env: ONE, network_policy: api, format: generic }
`);
  await t.throwsAsync(SessionCredentials.open(credentials, shown(workdir)), {
    code: "ERR_HOLDFAST_CREDENTIAL",
    message: /can be read in the sandbox, which sees .*work/,
  });
  (await SessionCredentials.open(credentials, shown(join(made, "other")))).close();
  // A link that the sandbox could lead elsewhere.
  await t.throwsAsync(SessionCredentials.open(credentials, shown(elsewhere)), {
    code: "ERR_HOLDFAST_CREDENTIAL",
    message: /is found by the link .*link, and the sandbox sees .*elsewhere/,
  });
});

test.serial("Nor may models' keys and the upstream proxy's login be kept where the sandbox sees them", async (t) => {
  const [workdir, elsewhere] = [folder(t), folder(t)];
  writeFileSync(join(workdir, "key"), "sk-kept-in-the-workspace");
  symlinkSync(join(workdir, "key"), join(elsewhere, "link"));
  writeFileSync(join(elsewhere, "key"), "sk-kept-elsewhere");
  const route = (key: string): string =>
    `inference: { routes: { local: { family: openai, url: "http://127.0.0.1:1", key: ${key} } } }`;
  const login = (file: string): string =>
    `upstream_proxy: { url: "http://127.0.0.1:1", credentials: { file: ${file} } }`;
  const [seen, linked, apart] = [join(workdir, "key"), join(elsewhere, "link"), join(elsewhere, "key")];
  const client = (secret: string): string =>
    `{ oauth2_client_credentials: { token_url: "https://a.example", client_id: me, client_secret: { file: ${secret} } } }`;
  const policy = (section: string): ReturnType<typeof sound> => sound(`${runnable()}${section}\n`);
  const refused = { code: "ERR_HOLDFAST_CREDENTIAL", message: /can be read in the sandbox, which sees / };
  // Of /etc the sandbox sees some names of the host's.
  for (const section of [
    route("{ file: /etc/ld.so.conf.d/key }"),
    route(`{ file: ${seen} }`),
    route(`{ file: ${linked} }`),
    route(client(seen)),
    login(seen),
  ])
    await t.throwsAsync(Sandbox.create({ workdir, policy: policy(section) }), refused, section);
  process.env["CREDENTIALS_DIRECTORY"] = workdir;
  t.teardown(() => delete process.env["CREDENTIALS_DIRECTORY"]);
  await t.throwsAsync(Sandbox.create({ workdir, policy: policy(route("{ systemd: key }")) }), refused);
  await using sandbox = await Sandbox.create({ workdir, policy: policy(login(apart)) });
  t.throws(() => sandbox.applyPolicy(policy(login(linked))), refused, "nor by a later policy");
});

test("No call is given a secret in a variable, however it is written, nor is a policy's sandbox", async (t) => {
  const workdir = folder(t);
  const secret = "n4rrow-secret-of-the-api";
  process.env["HOLDFAST_TEST_GIVEN"] = secret;
  const policy = (more = ""): ReturnType<typeof sound> =>
    sound(`${runnable()}${more}
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  one: { source: { env: HOLDFAST_TEST_GIVEN }, env: ONE, network_policy: api }
`);
  const seen = { code: "ERR_HOLDFAST_CREDENTIAL", message: /^the variable A holds one \((plain|hex|reversed)\)/ };
  await t.throwsAsync(Sandbox.create({ workdir, policy: policy(`environment: { set: { A: "x${secret}" } }`) }), seen);
  await using sandbox = await Sandbox.create({ workdir, policy: policy() });
  for (const A of [secret, Buffer.from(secret).toString("hex"), [...secret].reverse().join("")])
    await t.throwsAsync(async () => await sandbox.exec("env", [], { env: { A } }), seen);
  const { stdout } = await sandbox.exec("env", [], { env: { A: "a" } });
  t.regex(stdout.toString(), /^A=a$/m);
});

test("No file that holds a secret is brought into a sandbox, but where its policy only warns", async (t) => {
  const made = folder(t);
  const workdir = join(made, "work");
  for (const each of [workdir, join(made, "data")]) mkdirSync(each);
  chmodSync(workdir, 0o777);
  const secret = "n4rrow-secret-of-the-api-brought-in";
  process.env["HOLDFAST_TEST_BROUGHT"] = secret;
  writeFileSync(join(made, "data", "fine"), "fine");
  writeFileSync(join(made, "data", "leaky"), Buffer.from(`key=${secret}`).toString("base64"));
  writeFileSync(join(made, "data", "packed"), gzipSync(`key=${secret}`));
  const policy = (action: string): ReturnType<typeof sound> =>
    sound(`${runnable()}leak_guard: { action: ${action} }
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  one: { source: { env: HOLDFAST_TEST_BROUGHT }, env: ONE, network_policy: api }
`);
  await using sandbox = await Sandbox.create({ workdir, workspace: "overlay", policy: policy("redact") });
  const { files, passedOver } = await sandbox.importFiles([join(made, "data")]);
  t.deepEqual(
    files.map(({ path }) => path),
    ["data/fine"],
  );
  const reason = "it holds one (base64), which the sandbox would see";
  const packed = "it holds one (plain, packed), which the sandbox would see";
  t.deepEqual(
    [...passedOver].sort((one, other) => (one.path < other.path ? -1 : 1)),
    [
      { path: "data/leaky", reason },
      { path: "data/packed", reason: packed },
    ],
  );
  await t.throwsAsync(sandbox.importFiles([join(made, "data", "leaky")]), {
    code: "ERR_HOLDFAST_IMPORT",
    message: `${join(made, "data", "leaky")} was not imported: ${reason}`,
  });
  t.is((await sandbox.exec("ls", ["data"])).stdout.toString(), "fine\n");
  await using lenient = await Sandbox.create({ workdir, workspace: "overlay", policy: policy("warn") });
  t.is((await lenient.importFiles([join(made, "data")])).files.length, 3);
});
