// Code of the workspace, mapped by another of its paths: one where only reading is granted.
import { copyFileSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { scratchFolder } from "../sandbox/session.ts";

const client = `
import os, socket, sys
try: print(socket.create_connection(("host.holdfast.internal", int(sys.argv[1]))).recv(9).decode() or "ended")
except OSError: print("refused")
`;

test("Code that a program maps from the workspace takes its grant away by every path that shows it", async (t) => {
  const server = createServer((socket) => void socket.end("hello")).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const folder = realpathSync(scratchFolder(t));
  const workdir = join(folder, "work");
  mkdirSync(workdir);
  const [library] = /\/\S+\/libm\.so\.6/.exec(readFileSync("/proc/self/maps", "latin1")) ?? [];
  if (library === undefined) throw new Error("this Node has no libm");
  copyFileSync(library, join(workdir, "own.so"));
  copyFileSync(library, join(folder, "granted.so"));
  const policy = sound(`${runnable(folder)}workspace: { mount_at: /ws }
network_policies:
  one:
    endpoints: [{ host: host.holdfast.internal, port: ${port}, protocol: tcp }]
    binaries: [{ path: "/usr/bin/python3*" }]
`);
  const sandbox = await Sandbox.create({ workdir, policy, mode: "namespaces" });
  t.teardown(() => sandbox.dispose());
  for (const [path, said] of [
    [join(folder, "granted.so"), "hello\n"],
    ["/ws/own.so", "refused\n"],
    [join(workdir, "own.so"), "refused\n"],
  ] as const) {
    const script = 'LD_PRELOAD="$1" exec /usr/bin/python3 -c "$2" "$3"';
    const ran = await sandbox.exec("sh", ["-c", script, "sh", path, client, String(port)]);
    t.is(ran.stdout.toString() + ran.stderr.toString(), said, path);
  }
});
