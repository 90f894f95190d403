import { chmodSync, chownSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import type { Mode } from "../../lib/sandbox/types.ts";
import { makeFiles, scratchFolder } from "../sandbox/session.ts";

const modes: readonly Mode[] = thisHost().landlockAbi < 6 ? ["namespaces"] : ["namespaces", "landlock"];

/** Root's sandbox without namespaces is its workspace's owner. */
function own(folder: string): void {
  if (process.geteuid?.() === 0) chownSync(folder, 65_533, 65_533);
}

const client = `
import socket, sys
for path in sys.argv[1:]:
    own = socket.socket(socket.AF_UNIX)
    try: own.connect(path); print("connected")
    except OSError as error: print(error.strerror)
`;

for (const mode of modes) {
  test(`A service of the host in a granted folder is not even woken, and is named (${mode})`, async (t) => {
    const folder = makeFiles(scratchFolder(t), { "granted/a": "", "work/a": "" });
    chmodSync(folder, 0o755);
    own(join(folder, "work"));
    let woken = 0;
    const paths = [join(folder, "granted/service"), join(folder, "work/service")];
    for (const path of paths) {
      const server = createServer(() => woken++);
      await new Promise<void>((resolve) => server.listen(path, resolve));
      chmodSync(path, 0o777);
      t.teardown(() => server.close());
    }
    const granted = {
      ...defaultPolicy.filesystem,
      readOnly: [...defaultPolicy.filesystem.readOnly, { path: join(folder, "granted") }],
    };
    const sandbox = await Sandbox.create({
      workdir: join(folder, "work"),
      policy: { ...defaultPolicy, filesystem: granted },
      mode,
    });
    t.teardown(() => sandbox.dispose());
    const ran = await sandbox.exec("python3", ["-c", client, ...paths]);
    t.is(ran.stdout.toString(), "Permission denied\nPermission denied\n");
    t.deepEqual(
      ran.denials.map(({ kind, subject }) => `${kind} ${subject}`).sort(),
      paths.map((path) => `connect unix:${path}`).sort(),
    );
    // An accept that was under way would come before the answer to this.
    await new Promise((resolve) => setImmediate(resolve));
    t.is(woken, 0);
  });
}

for (const mode of modes) {
  test(`Root's broker does not tell what lies in folders that are closed to the sandbox (${mode})`, async (t) => {
    if (process.geteuid?.() !== 0) {
      t.log("skipped: only root's broker may look where the sandbox may not");
      t.pass();
      return;
    }
    const folder = makeFiles(scratchFolder(t), { "granted/closed/there": "", "work/a": "" });
    chmodSync(folder, 0o755);
    chmodSync(join(folder, "granted/closed"), 0o700);
    chownSync(join(folder, "granted/closed"), 12_345, 12_345);
    own(join(folder, "work"));
    const granted = {
      ...defaultPolicy.filesystem,
      readOnly: [...defaultPolicy.filesystem.readOnly, { path: join(folder, "granted") }],
    };
    const sandbox = await Sandbox.create({
      workdir: join(folder, "work"),
      policy: { ...defaultPolicy, filesystem: granted },
      mode,
    });
    t.teardown(() => sandbox.dispose());
    const script = `
import os, socket, sys
connect = lambda path: socket.socket(socket.AF_UNIX).connect(path)
for ask in connect, os.utime, lambda path: os.chmod(path, 0o600), lambda path: os.setxattr(path, "user.x", b""):
    for name in "there", "not-there", "there/below":
        try: ask(sys.argv[1] + "/" + name); print("done")
        except OSError as error: print(error.strerror)`;
    const ran = await sandbox.exec("python3", ["-c", script, join(folder, "granted/closed")]);
    t.is(ran.stdout.toString() + ran.stderr.toString(), "Permission denied\n".repeat(12));
  });
}

for (const [mode, workspace] of modes.flatMap((mode) =>
  (["direct", "overlay"] as const).map((each) => [mode, each] as const),
)) {
  test(`A sandbox reaches its own sockets wherever they lie, in a workspace that is ${workspace} (${mode})`, async (t) => {
    const folder = makeFiles(scratchFolder(t), { "sub/a": "" });
    own(folder);
    own(join(folder, "sub"));
    const sandbox = await Sandbox.create({ workdir: folder, workspace, mode });
    t.teardown(() => sandbox.dispose());
    // Without namespaces the host's shared memory and abstract names are shut.
    const elsewhere = mode === "namespaces" ? ["/dev/shm/s", "\\0abstract"] : [];
    const ran = await sandbox.exec("python3", [
      "-c",
      `import os, socket, subprocess, sys
servers = []
os.symlink("sub", "link")
tmp = os.environ.get("TMPDIR", "/tmp")
paths = ["here", "sub/there", tmp + "/t", os.environ["HOME"] + "/h"] + ${JSON.stringify(elsewhere)}
for path in paths:
    server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen(4); servers.append(server)
os.rename("here", "moved")
print(subprocess.run(["python3", "-c", ${JSON.stringify(client)}, "moved", "./sub/there", "link/there", *paths[2:5], "missing"], capture_output=True, text=True).stdout)
`,
    ]);
    t.is(
      ran.stdout.toString().trim(),
      `${"connected\n".repeat(mode === "namespaces" ? 6 : 5)}No such file or directory`,
      ran.stderr.toString(),
    );
  });
}
