import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import test from "ava";
import { folder, holdfast, run, shell } from "./holdfast.ts";

for (const [args, message, hint] of [
  [["--polcy", "x", "--", "true"], /unknown option --polcy/, /Did you mean --policy\?/],
  [["--timout=3s", "--", "true"], /unknown option --timout/, /Did you mean --timeout\?/],
  [["--limits", "memory=1G", "--", "true"], /unknown option --limits/, /Did you mean --limit\?/],
  [["-x", "true"], /unknown option -x/, /--help/],
  [["--workdir"], /--workdir needs a value/, /./],
  [["--quiet=yes", "true"], /--quiet takes no value/, /--quiet alone/],
  [["--limit", "memry=1G", "--", "true"], /there is no limit "memry"/, /memory/],
  [["--limit", "memory", "--", "true"], /--limit memory: it has no value/, /NAME=VALUE/],
  [["--limit", "memory=lots", "--", "true"], /"lots" is not a size/, /512M/],
  [["--limit", "processes=-3", "--", "true"], /cannot be negative/, /none/],
  [["--limit", "processes=0", "--", "true"], /cannot be 0/, /none/],
  [["--timeout", "5", "--", "true"], /"5" is not a duration/, /5s/],
  [["--timeout", "0s", "--", "true"], /cannot be 0/, /none/],
  [["--status-fd", "three", "--", "true"], /--status-fd takes a descriptor's number, not three/, /--status-fd 3/],
  [["--env", "1X=2", "--", "true"], /--env 1X: not a variable's name/, /NAME=VALUE/],
  [["--preset", "bild", "--", "true"], /there is no preset "bild"/, /build/],
  [["--preset", "build", "--policy", "p", "--", "true"], /--policy and --preset cannot both be given/, /./],
  [["--policy", "/no/such/policy.yaml", "--", "true"], /cannot read the policy \/no\/such\/policy\.yaml/, /./],
  [["--read", "/no/such/path", "--", "true"], /--read \/no\/such\/path: it does not exist/, /./],
  [["--write", "/", "--", "true"], /root folder cannot be made writable/, /./],
  [["--workdir", "/no/such/folder", "--", "true"], /\/no\/such\/folder does not exist/, /--workdir/],
  [["--workdir", "/etc/hostname", "--", "true"], /\/etc\/hostname is not a folder/, /--workdir/],
  [["--workdir", "/", "--", "true"], /root folder cannot be the workspace/, /--workdir/],
  [[], /no command was given/, /two dashes/],
  [["--"], /no command was given/, /two dashes/],
] as const) {
  test(`Refused with a sentence, 125 and nothing started: ${args.join(" ") || "(nothing)"}`, async (t) => {
    const result = await run(t, args, { cwd: folder(t) });
    t.is(result.status, 125);
    t.is(result.stdout.toString(), "");
    const [first = "", second = ""] = result.stderr.split("\n");
    t.regex(first, message);
    t.regex(second, hint);
    t.notRegex(result.stderr, /\n {4}at /, "no stack trace");
  });
}

test("A command does not start when the policy has an error: each is one line with its place", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "policy.yaml"), "holdfast: 1\nfilesystem_polcy:\n  read_only: []\nlimits:\n  memory: lots\n");
  const result = await run(t, ["--policy", "policy.yaml", "--", "touch", "made"], { cwd });
  t.is(result.status, 125);
  t.regex(result.stderr, /policy\.yaml:2:1: .*filesystem_policy/);
  t.regex(result.stderr, /policy\.yaml:5:\d+: /);
  t.false(existsSync(join(cwd, "made")));
});

for (const [title, text, told] of [
  ["holdfast's dialect", "holdfast: 1\nfilesystem_policy:\n  read_only: [/usr, /no/such]\n", "3:21: "],
  [
    "OpenShell's, hard_requirement",
    "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /no/such]}\nlandlock: {compatibility: hard_requirement}\n",
    "2:62: ",
  ],
  [
    "OpenShell's, best_effort",
    "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /no/such]}\n",
    "2:62: warning: ",
  ],
  [
    "holdfast's dialect, best_effort",
    "holdfast: 1\nfilesystem_policy:\n  read_only: [/usr, /no/such]\nlandlock: {compatibility: best_effort}\n",
    null,
  ],
] as const) {
  test(`A granted path that does not exist: ${title}`, async (t) => {
    const cwd = folder(t);
    writeFileSync(join(cwd, "policy.yaml"), text);
    const result = await run(t, ["--policy", "policy.yaml", "--", "touch", "made"], { cwd });
    const starts = told === null || told.includes("warning");
    t.is(result.status, starts ? 0 : 125, result.stderr);
    t.is(existsSync(join(cwd, "made")), starts);
    const [first = ""] = result.stderr.split("\n");
    if (told === null) t.is(first, "");
    else t.true(first.startsWith(`holdfast: policy.yaml:${told}"/no/such" does not exist`), first);
  });
}

test("What a policy is warned of is said before the command runs, and not with --quiet", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "policy.yaml"), "version: 1\nprocess:\n  run_as_user: sandbox\n");
  const args = ["--policy", "policy.yaml"];
  const loud = await run(t, [...args, "--", "true"], { cwd });
  t.is(loud.status, 0, loud.stderr);
  t.regex(loud.stderr, /^holdfast: policy\.yaml:1:1: warning: filesystem_policy is absent/m);
  const quiet = await run(t, ["--quiet", ...args, "--", "true"], { cwd });
  t.is(quiet.stderr, "");
  const json = await run(t, ["--json", ...args, "--", "true"], { cwd });
  const [first = ""] = json.stderr.split("\n");
  t.like(JSON.parse(first), { event: "warning", file: "policy.yaml", line: 1 });
});

test("No variable that holds a secret outside, or a placeholder inside, is passed on or set by a flag", async (t) => {
  const cwd = folder(t);
  const outside = folder(t);
  const secret = "n4rrow-secret-of-the-api";
  const key = "sk-local-key-of-the-route";
  writeFileSync(
    join(outside, "policy.yaml"),
    `holdfast: 1
filesystem_policy: { include_workdir: true, read_only: [/usr, /bin, /lib, /lib64, /etc] }
network_policies:
  api:
    endpoints: [{ host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  api: { source: { env: API_SECRET }, env: API_KEY, network_policy: api }
inference:
  routes:
    local: { family: openai, url: "http://127.0.0.1:9", key: { env: MODEL_KEY } }
`,
  );
  const env = { ...process.env, API_SECRET: secret, MODEL_KEY: key, API_KEY: "other" };
  const policy = ["--policy", join(outside, "policy.yaml")];
  for (const [flag, message] of [
    ["API_SECRET", /--env API_SECRET: the policy keeps the credential api there/],
    ["API_KEY", /--env API_KEY: the placeholder of the credential api is in it/],
    ["API_KEY=x", /--env API_KEY: the placeholder/],
    ["MODEL_KEY", /--env MODEL_KEY: the policy keeps the key of the route local there/],
    [`OTHER=Bearer ${secret}`, /the variable OTHER holds api \(plain\), which the sandbox would see/],
    [`OTHER=${Buffer.from(`me:${secret}`).toString("base64")}`, /the variable OTHER holds api \(base64\)/],
  ] as const) {
    const { status, stdout, stderr } = await run(t, [...policy, "--env", flag, "--", "env"], { cwd, env });
    t.is(status, 125, flag);
    t.is(stdout.toString(), "");
    t.regex(stderr, message);
    t.false(stderr.includes(secret) || stderr.includes(key));
  }
  const proxied = { ...env, HTTPS_PROXY: `http://me:${secret}@proxy.example:3128` };
  const proxy = ["--upstream-proxy", "env", "--env", "HTTPS_PROXY", "--", "env"];
  const refused = await run(t, proxy, { cwd, env: proxied });
  t.like(refused, { status: 125 });
  t.regex(refused.stderr, /--env HTTPS_PROXY: credentials of the upstream proxy are in it/);
  t.false(`${refused.stderr}${refused.stdout}`.includes(secret));
  const fine = await run(t, [...policy, "--env", "OTHER=fine", "--", "sh", "-c", "echo $OTHER $API_KEY"], { cwd, env });
  t.is(fine.status, 0, fine.stderr);
  t.regex(fine.stdout.toString(), /^fine [A-Za-z0-9]{24}\n$/);
});

test("Of NO_PROXY what no program matches is left out, and said", async (t) => {
  const env = {
    ...process.env,
    HTTPS_PROXY: "http://proxy.example:3128",
    NO_PROXY: "localhost,10.*, <local>,corp.example",
  };
  const [plain, json, quiet] = await Promise.all(
    [[], ["--json"], ["--quiet"]].map((flags) =>
      run(t, [...flags, "--upstream-proxy", "env", "--", "true"], { cwd: folder(t), env }),
    ),
  );
  const said = 'NO_PROXY has "10.*", "<local>", which no host matches: it is left out, as by other programs';
  t.deepEqual(
    [plain, json, quiet].map((each) => each?.status),
    [0, 0, 0],
  );
  t.true(plain?.stderr.includes(said), plain?.stderr);
  const warning = json?.stderr.split("\n").find((line) => line.includes('"warning"')) ?? "null";
  t.deepEqual(JSON.parse(warning), { event: "warning", severity: "warning", message: said });
  t.is(quiet?.stderr, "");
});

test("The environment is built anew: nothing of the caller's passes but what is named", async (t) => {
  const cwd = folder(t);
  const env = { ...process.env, SECRET_TOKEN: "hidden", PASSED: "from outside", LANG: "xx_XX" };
  const plain = await run(t, ["--", "env"], { cwd, env });
  t.notRegex(plain.stdout.toString(), /hidden|from outside/);
  t.regex(plain.stdout.toString(), /^HOME=\/home\/sandbox$/m);
  const args = ["--env", "PASSED", "--env", "SET=a=b c", "--env", "EMPTY=", "--env", "ABSENT"];
  const given = await run(t, [...args, "--", "env"], { cwd, env });
  const lines = given.stdout.toString().split("\n");
  for (const line of ["PASSED=from outside", "SET=a=b c", "EMPTY="]) t.true(lines.includes(line), line);
  t.false(lines.some((line) => line.startsWith("ABSENT")));
});

test("A variable that holdfast never passes on is refused by name", async (t) => {
  const result = await run(t, ["--env", "ANTHROPIC_ENVIRONMENT_KEY", "--", "true"], { cwd: folder(t) });
  t.is(result.status, 125);
  t.regex(result.stderr, /ANTHROPIC_ENVIRONMENT_KEY: it is never passed on/);
});

test("What is not granted does not exist, --read shows it, --write makes it writable", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  writeFileSync(join(other, "file"), "content\n");
  const look = `cat ${other}/file; echo changed > ${other}/file; ls ${other}`;
  const hidden = await shell(t, look, { cwd });
  t.is(hidden.stdout.toString(), "");
  const read = await shell(t, look, { cwd }, ["--read", other]);
  t.is(read.stdout.toString(), "content\nfile\n");
  t.is(readFileSync(join(other, "file"), "utf8"), "content\n");
  const written = await shell(t, look, { cwd }, ["--write", other]);
  t.is(written.stdout.toString(), "content\nfile\n");
  t.is(readFileSync(join(other, "file"), "utf8"), "changed\n");
});

test("A path may be relative to where holdfast was started", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  writeFileSync(join(other, "file"), "content");
  const result = await run(t, ["--read", relative(cwd, other), "--", "cat", join(other, "file")], { cwd });
  t.is(result.stdout.toString(), "content");
});

for (const name of [
  "with space",
  "new\nline",
  "ünïcode ∂",
  "-dash",
  "quote'\"",
  "back\\slash",
  "colon:comma,",
  "$dollar",
]) {
  test(`Folders are granted whatever they are called: ${JSON.stringify(name)}`, async (t) => {
    const base = folder(t);
    const workdir = join(base, name);
    const granted = join(base, `read ${name}`);
    mkdirSync(workdir);
    mkdirSync(granted);
    writeFileSync(join(granted, "file"), "content");
    const args = [
      "--workdir",
      workdir,
      "--read",
      granted,
      "--",
      "sh",
      "-c",
      'pwd; cat "$1"/file; touch made',
      "sh",
      granted,
    ];
    const result = await run(t, args, { cwd: base });
    t.is(result.stdout.toString(), `${workdir}\ncontent`, result.stderr);
    t.true(existsSync(join(workdir, "made")));
  });
}

test("A read-only path inside a writable one holds", async (t) => {
  const cwd = folder(t);
  mkdirSync(join(cwd, "kept", "below"), { recursive: true });
  writeFileSync(join(cwd, "kept", "file"), "content");
  writeFileSync(join(cwd, "single"), "content");
  const script =
    "echo x > kept/file; echo x > kept/new; rm -f kept/file; mv kept moved; mv kept/below x; echo x > single; mv single y; rm -f single; touch free; :";
  const result = await shell(t, script, { cwd }, ["--read", join(cwd, "kept"), "--read", "single"]);
  t.is(result.status, 0);
  t.is(readFileSync(join(cwd, "kept", "file"), "utf8"), "content");
  t.is(readFileSync(join(cwd, "single"), "utf8"), "content");
  t.true(existsSync(join(cwd, "kept", "below")));
  t.false(existsSync(join(cwd, "kept", "new")));
  t.true(existsSync(join(cwd, "free")));
});

test("A writable path inside a read-only one holds, and the other way round again below it", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  chmodSync(other, 0o777);
  for (const path of ["open/shut", "open/other"]) mkdirSync(join(other, path), { recursive: true });
  const options = ["--read", other, "--write", join(other, "open"), "--read", join(other, "open", "shut")];
  const script = `cd ${other}; touch no; touch open/yes; touch open/shut/no; touch open/other/yes; mv open/shut open/gone; find . -type f`;
  const result = await shell(t, script, { cwd }, options);
  t.deepEqual(result.stdout.toString().trim().split("\n").sort(), ["./open/other/yes", "./open/yes"]);
  t.true(existsSync(join(other, "open", "yes")));
  t.true(existsSync(join(other, "open", "shut")));
});

test("A link is granted with what it names, and named by both", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  mkdirSync(join(other, "real"));
  writeFileSync(join(other, "real", "file"), "content");
  symlinkSync("real", join(other, "link"));
  const script = `cat ${other}/link/file ${other}/real/file`;
  const result = await shell(t, script, { cwd }, ["--read", join(other, "link")]);
  t.is(result.stdout.toString(), "contentcontent", result.stderr);
});

test("A workdir that is a link is the folder that it names", async (t) => {
  const base = folder(t);
  mkdirSync(join(base, "real"));
  symlinkSync("real", join(base, "link"));
  const result = await shell(t, "pwd -P; touch made", { cwd: base }, ["--workdir", "link"]);
  t.is(result.stdout.toString(), `${join(base, "real")}\n`);
  t.true(existsSync(join(base, "real", "made")));
});

test("--help prints the usage to standard output and starts nothing", async (t) => {
  const result = await run(t, ["--help", "--", "false"], { cwd: folder(t) });
  t.is(result.status, 0);
  t.regex(result.stdout.toString(), /^Usage: holdfast run/);
  t.is(result.stderr, "");
});

test("A working folder that was removed is one sentence", async (t) => {
  const cwd = folder(t);
  const gone = join(cwd, "gone");
  mkdirSync(gone);
  const script = `rmdir "$PWD"; exec "$0" run -- true`;
  const ran = spawnSync("sh", ["-c", script, holdfast], { cwd: gone, encoding: "utf8", timeout: 60_000 });
  t.is(ran.status, 125);
  t.regex(
    ran.stderr,
    /holdfast: the current folder does not exist any more\n {2}.*--workdir.*\[ERR_HOLDFAST_WORKDIR\]/,
  );
});
