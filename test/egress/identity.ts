// The scenario of identity.test.ts: one granted program in a folder that the sandbox cannot write, and all the ways in which
// another could come to speak in its name.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

const place = mkdtempSync(join(tmpdir(), "holdfast-identity-"));
const [granted, workdir] = [join(place, "granted"), join(place, "work")];
for (const folder of [granted, workdir]) mkdirSync(folder);
for (const folder of [place, granted]) chmodSync(folder, 0o755);
chmodSync(workdir, 0o777);
const mode = process.argv[2] === "landlock" ? "landlock" : "namespaces";
// Root's own folders are nothing for a sandbox that shares the host's view.
if (mode === "landlock" && process.getuid?.() === 0) chownSync(workdir, 1000, 1000);

const cc = (output: string, ...args: string[]): void => void execFileSync("cc", ["-o", output, ...args]);
const speak = join(granted, "speak");
const other = join(granted, "other");
cc(speak, join(import.meta.dirname, "programs", "speak.c"), "-ldl", "-lpthread");
copyFileSync(speak, other);
const source = (name: string, text: string): string => {
  writeFileSync(join(place, name), text);
  return join(place, name);
};
const code = source("code.c", "__attribute__((constructor)) static void run(void) {}");
const data = source("data.c", "int steered = 1; int *where = &steered;");
for (const folder of [granted, workdir]) {
  cc(join(folder, "code.so"), "-shared", "-fPIC", code);
  cc(join(folder, "data.so"), "-shared", "-fPIC", "-nostdlib", "-Wl,-z,noseparate-code", data);
}
// Other names of two files of the folder that only reading is granted of, where the sandbox can write.
for (const name of ["twice.so", "twice"]) {
  copyFileSync(name === "twice" ? speak : join(granted, "code.so"), join(granted, name));
  linkSync(join(granted, name), join(workdir, name));
  chmodSync(join(granted, name), 0o777);
}
// Read-only in the sandbox, and yet the workspace's.
mkdirSync(join(workdir, ".vscode"));
copyFileSync(join(workdir, "code.so"), join(workdir, ".vscode", "code.so"));
cc(
  join(granted, "loaded"),
  ...[join(import.meta.dirname, "programs", "speak.c"), "-ldl", "-lpthread", `-Wl,--dynamic-linker=${workdir}/loader`],
);
copyFileSync("/lib64/ld-linux-x86-64.so.2", join(workdir, "loader"));
writeFileSync(join(granted, "script"), `#!${speak} say\n`, { mode: 0o755 });

function policyOf(binaries: string): Policy {
  const text = `${runnable(granted, dirname(process.execPath))}network_policies:
  one:
    endpoints: [{ host: "${addresses.api}", port: 7 }]
    binaries: ${binaries}
`;
  return sound(text);
}

const echo = createServer((socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
echo.listen(7, addresses.api);
await once(echo, "listening");

const shell = realpathSync("/bin/sh");
const results: Record<string, unknown> = {};
const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const onlySpeak = `[{ path: "${speak}" }]`;
const withRuntimes = `[{ path: "${speak}" }, { path: "${granted}/twice" }, { path: "${granted}/loaded" }, { path: /usr/lib/**/ld-*.so* }, { path: "${process.execPath}" }, { path: /usr/bin/python3* }]`;
const askNode =
  'for (let i = 0, f = (x) => x * 2; i < 1e5; i++) f(i); require("net").connect(7, process.env.TO, function () { this.end("hello"); }).on("error", () => console.log("reset")).on("data", (d) => console.log(String(d)));';
const askPython =
  'import ctypes, os, socket; s = socket.create_connection((os.environ["TO"], 7)); s.sendall(b"hello"); print(s.recv(5).decode())';
const sandbox = await Sandbox.create({ workdir, policy: policyOf(withRuntimes), audit, mode });

/** Runs a line of shell whose last word is a program, and says how it ended and what became of the connection. */
async function says(title: string, line: string, where = sandbox): Promise<void> {
  const script = `export TO=${addresses.api} GRANTED=${speak} W=${workdir} G=${granted}; ${line}`;
  const { stdout, stderr } = await where.exec("bash", ["-c", script], { timeoutMs: 30_000 });
  results[title] = `${stdout}${stderr}`.trim().replaceAll(place, "");
}

try {
  // Whose code it is.
  await says("itself", "$G/speak say");
  await says("code it may map", "$G/speak map:$G/code.so load:$G/code.so say");
  await says("data it may map, made executable", "$G/speak protect:$G/code.so say");
  await says("data of the workspace", "cp $G/code.so d; $G/speak data:d say");
  await says("a JIT", "$G/speak jit say");
  await says("preloaded", "LD_PRELOAD=$W/code.so $G/speak say");
  await says("preloaded data", "LD_PRELOAD=$W/data.so $G/speak say");
  await says("preloaded from /tmp", "T=$(mktemp); cat $G/code.so > $T; LD_PRELOAD=$T $G/speak say");
  await says("audited", "LD_AUDIT=$W/code.so $G/speak say 2>/dev/null");
  await says("loaded", "$G/speak load:$W/code.so say");
  await says("mapped", "$G/speak map:$W/code.so say");
  await says("made executable", "$G/speak protect:$W/code.so say");
  await says("made executable by key", "$G/speak pkey:$W/code.so say");
  await says("memfd", "$G/speak memfd say");
  await says("deleted code", "cp $G/code.so gone; $G/speak gone:gone say");
  await says("a segment", "$G/speak segment say");
  await says("a segment attached as code", "$G/speak attach say");
  await says("pages rearranged", "$G/speak remap say");
  await says("data that implies code", "$G/speak persona say");
  await says("of a name more", "cat $W/data.so > $W/twice.so; LD_PRELOAD=$G/twice.so $G/speak say");
  await says("protected", "LD_PRELOAD=$W/.vscode/code.so $G/speak say");
  await says("rewritten", "$G/other rewrite:$G/speak say");
  await says("a loader of the workspace", "$G/loaded say");
  await says("a loader of the workspace, after a connect by another", "$G/speak socket connect exec:$G/loaded say");
  await says("a loader by a link of the workspace", "ln -sf /lib64/ld-linux-x86-64.so.2 $W/loader; $G/loaded say");
  await says("reaching another", "$G/speak reach");
  await says("handing out a socket", "$G/speak getfd");
  // What the mark goes with.
  for (const way of ["fork", "orphan", "shared", "thread", "leaderless"]) {
    await says(`${way}`, `$G/speak ${way} say`);
    await says(`marked, then ${way}`, `$G/speak map:$W/code.so ${way} say`);
    await says(`${way}, then marked`, `$G/speak ${way} map:$W/code.so say`);
  }
  await says("marked, then exec", "$G/speak map:$W/code.so exec:$G/speak say");
  await says("marked, then vfork and exec", "$G/speak map:$W/code.so vfork say");
  await says("the parent of a marked one", "$G/speak map:$W/code.so say & wait; $G/speak say");
  // Which file it is.
  await says("another", "$G/other say");
  await says("executed over", "$G/other exec:$G/speak say");
  await says("that executes another", "$G/speak exec:$G/other say");
  await says("copied", "cp $G/speak copy; ./copy say");
  await says("copied and renamed", "cp $G/speak new; mv new speak; ./speak say");
  await says("renamed while it runs", "cp $G/speak a; ./a rename:a say");
  await says("deleted", "cp $G/speak lost; ./lost unlink:lost say");
  await says("from a memfd", "$G/speak memexec say");
  await says("linked to", "ln -s $G/speak link; ./link say");
  await says("an argument 0 of its choice", `(exec -a ${speak} $G/other say)`);
  await says("by a granted loader", "/lib64/ld-linux-x86-64.so.2 $G/speak say");
  await says("by a granted loader, from the workspace", "/lib64/ld-linux-x86-64.so.2 $W/copy say");
  await says("a file of a name more", "$G/twice say");
  await says("a file that was changed by another name", "cat $G/other > $W/twice; $G/twice say");
  await says("a script", "$G/script");
  await says("a script of the workspace", `printf '#!%s say\\n' $G/speak > run; chmod +x run; ./run`);
  // Whose socket it is: of whom connects it.
  await says("handed over when connected", "$G/speak socket connect exec:$G/other use");
  await says("handed to the granted one", "$G/other socket exec:$G/speak connect use");
  await says("handed over before", "$G/speak socket exec:$G/other connect use");
  results["records"] = lines
    .filter(({ type }) => type === "connection")
    .map(({ program, allowed, reason }) => [String(program).replace(place, ""), allowed, reason ?? null]);
  results["scripts"] = lines.flatMap(({ script }) => (script === undefined ? [] : [String(script).replace(place, "")]));
  // Programs that make code as they go.
  await says("node", `${process.execPath} -e '${askNode}'`);
  await says("python", `python3 -c '${askPython}'`);

  await says("started by another", "$G/other exec:/bin/sh -c '$G/speak say; true'");
  await says("started by a script", "printf '#!/bin/sh\\n$G/speak fork say\\n' > start; chmod +x start; ./start");
  results["origins"] = lines
    .filter(({ type }) => type === "connection")
    .slice(-2)
    .map(({ program, ancestors, script }) =>
      JSON.parse(
        JSON.stringify([program, ancestors, script ?? null])
          .replaceAll(place, "")
          .replaceAll(shell, "sh"),
      ),
    );

  // The end of a connection says that its record stands.
  const asks = "exec 3<>/dev/tcp/$TO/7; read -u3 x";
  const first = `printf '#!/bin/bash\\n%s\\n%s\\nexec %s/second' '${asks}' '${asks}' $W > first`;
  const second = `printf '#!/bin/bash\\n${asks}' > second`;
  await says("one script after the other", `${first}; ${second}; chmod +x first second; ./first`);
  results["scripts in turn"] = lines
    .filter(({ type }) => type === "connection")
    .slice(-3)
    .map(({ script }) => String(script).replace(place, ""));

  // A file that somebody outside changes: pinned, or what was first seen.
  const hash = (): string => createHash("sha256").update(readFileSync(speak)).digest("hex");
  const pinned = policyOf(`[{ path: "${speak}", sha256: ${hash()} }]`);
  sandbox.applyPolicy(pinned);
  await says("pinned", "$G/speak say");
  const before = hash();
  appendFileSync(speak, "changed");
  await says("pinned and changed", "$G/speak say");
  sandbox.applyPolicy(policyOf(onlySpeak));
  await says("first seen and changed", "$G/speak say");
  sandbox.applyPolicy(policyOf(`[{ path: "${speak}", sha256: ${hash()} }]`));
  await says("pinned anew", "$G/speak say");
  results["changes"] = lines
    .filter(({ type }) => type === "program.changed")
    .map(({ program, sha256, expected }) => [program === speak, sha256 === hash(), expected === before]);

  const any = await Sandbox.create({ workdir, policy: policyOf(`[{ path: "/**" }]`), mode });
  await says("of any program", "$G/speak map:$W/code.so say", any);
  try {
    any.applyPolicy(policyOf(onlySpeak));
  } catch (error) {
    results["rules that come later"] = (error as { code: string }).code;
  }
  await says("after those", "$G/other say", any);
  sandbox.applyPolicy(policyOf(`[{ path: "/**" }]`));
  await says("with rules that name nobody", "$G/other say");
  sandbox.applyPolicy(policyOf(onlySpeak));
  await says("with the first again", "$G/other say");
  await says("by the loader", "/lib64/ld-linux-x86-64.so.2 $G/speak say");
  await any.dispose();
} finally {
  await sandbox.dispose();
  echo.close();
  rmSync(place, { recursive: true, force: true });
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
