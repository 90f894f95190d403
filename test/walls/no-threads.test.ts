// A program can use up what its user may have of processes and threads. The launcher is refused its own then, and goes on.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { userTasks } from "../../lib/host/user-tasks.ts";
import { thisHost } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "../sandbox/session.ts";

const sandboxes = join(import.meta.dirname, "../../lib/sandbox/sandbox.ts");

const program = `
import os, signal, socket, sys
held = []
try:
    while len(held) < 2000:
        held.append(os.fork())
        if held[-1] == 0: signal.pause()
except OSError as error: print(error.strerror)
server = socket.socket(socket.AF_UNIX)
try:
    server.bind(os.environ.get("TMPDIR", "/tmp") + "/name"); server.listen(4)
    socket.socket(socket.AF_UNIX).connect(server.getsockname()); print("connected")
except OSError as error: print(error.strerror, flush=True)
print("full", flush=True)
sys.stdin.read()
for each in held: os.kill(each, 9); os.waitpid(each, 0)
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(4)
socket.create_connection(server.getsockname()); print("connected", flush=True)
`;

const launcher = `
import { Sandbox } from ${JSON.stringify(sandboxes)};
const [workdir, mode, program] = process.argv.slice(1);
const sandbox = await Sandbox.create({ workdir, mode });
const child = sandbox.start("python3", ["-c", program], {});
let said = "";
const closed = new Promise((resolve) => child.once("close", resolve));
await new Promise((resolve) => child.stdout.on("data", (chunk) => {
  said += chunk;
  if (said.includes("full")) resolve();
}));
const other = await Sandbox.create({ workdir, mode }).then(
  async (made) => (await made.dispose(), "made"),
  ({ code }) => code,
);
child.stdin.end();
await closed;
await sandbox.dispose();
process.stdout.write(said + other);
`;

for (const mode of thisHost().landlockAbi < 6 ? ["namespaces"] : ["namespaces", "landlock"]) {
  test.serial(`A program that leaves its user no thread does not end the launcher (${mode})`, async (t) => {
    if (process.geteuid?.() === 0) {
      t.log("skipped: root has as many threads as it likes");
      t.pass();
      return;
    }
    const most = userTasks(process.getuid?.() ?? 0) + 150;
    const node = [process.execPath, "--input-type=module", "-e", launcher, "--", scratchFolder(t), mode, program];
    const { stdout } = await promisify(execFile)("prlimit", [`--nproc=${most}:${most}`, ...node]);
    const full = "Resource temporarily unavailable\n";
    t.is(stdout, `${full}${full}full\nconnected\nERR_HOLDFAST_LAUNCH`);
  });
}
