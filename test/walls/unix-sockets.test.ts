import { chmodSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { makeFiles, scratchFolder } from "../sandbox/session.ts";

const client = `
import socket, sys
for path in sys.argv[1:]:
    own = socket.socket(socket.AF_UNIX)
    try: own.connect(path); print("connected")
    except OSError as error: print(error.strerror)
`;

test("A service of the host in a granted folder is not even woken, and is named", async (t) => {
  const folder = makeFiles(scratchFolder(t), { "granted/a": "", "work/a": "" });
  chmodSync(folder, 0o755);
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

for (const workspace of ["direct", "overlay"] as const) {
  test(`A sandbox reaches its own sockets wherever they lie, in a workspace that is ${workspace}`, async (t) => {
    const folder = makeFiles(scratchFolder(t), { "sub/a": "" });
    const sandbox = await Sandbox.create({ workdir: folder, workspace });
    t.teardown(() => sandbox.dispose());
    const ran = await sandbox.exec("python3", [
      "-c",
      `import os, socket, subprocess, sys
servers = []
os.symlink("sub", "link")
for path in ["here", "sub/there", "/tmp/t", "/dev/shm/s", os.environ["HOME"] + "/h", "\\0abstract"]:
    server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen(4); servers.append(server)
os.rename("here", "moved")
print(subprocess.run(["python3", "-c", ${JSON.stringify(client)}, "moved", "./sub/there", "link/there", "/tmp/t", "/dev/shm/s", os.environ["HOME"] + "/h", "missing"], capture_output=True, text=True).stdout)
`,
    ]);
    t.is(ran.stdout.toString().trim(), `${"connected\n".repeat(6)}No such file or directory`, ran.stderr.toString());
  });
}
