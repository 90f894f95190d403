// The scenario of run-network.test.ts, run where the servers' addresses are this namespace's own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { holdfast } from "../e2e/holdfast.ts";
import { addresses } from "./world.ts";

const echo = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
echo.listen(7, addresses.api);
const web = createHttpServer((request, response) => response.end(`${request.method} ${request.url}`));
web.listen(80, addresses.api);
await Promise.all([echo, web].map((server) => once(server, "listening")));

const workdir = mkdtempSync(join(tmpdir(), "holdfast-commanded-"));
chmodSync(workdir, 0o777);

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function holdfastRun(options: readonly string[], program: string, ...args: readonly string[]): Promise<Ran> {
  const child = spawn(holdfast, ["run", "--workdir", workdir, ...options, "--", "python3", "-c", program, ...args]);
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, ...said };
}

/** Asks for each of its arguments, and prints what it got. */
const fetches = `
import sys, urllib.request, urllib.error
for word in sys.argv[1:]:
    method, url = word.split(" ")
    try: print(urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).read().decode())
    except urllib.error.HTTPError as error: print(error.code)
    except OSError as error: print("no connection")
`;

const results: Record<string, unknown> = {};
try {
  const site = "http://api.example.test";
  results["--allow PATH"] = await holdfastRun(
    ["--allow", "api.example.test:80/x/**"],
    fetches,
    ...[`GET ${site}/x`, `DELETE ${site}/x/y?z=1`, `GET ${site}/y`],
  );
  results["not reached"] = await holdfastRun(
    [
      "--allow",
      "nowhere.example.test:80",
      "--allow",
      "api.example.test:81",
      "--allow",
      "api.example.test:82/x",
      "--json",
    ],
    fetches,
    ...["GET http://nowhere.example.test/", `GET ${site}:81/`, `GET ${site}:82/x`, "GET http://metadata.example.test/"],
  );
  results["never dialled"] = await holdfastRun(
    ["--allow", "metadata.example.test:80"],
    fetches,
    "GET http://metadata.example.test/",
  );
} finally {
  echo.close();
  web.close();
  rmSync(workdir, { recursive: true, force: true });
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
