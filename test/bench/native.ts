import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { type Launched, root } from "../../lib/native.ts";
import { layerIds } from "../../lib/plan/encode.ts";
import { execRequest } from "../../lib/sandbox/requests.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { findOnPath } from "./path.ts";
import type { Benchmark } from "./result.ts";
import type { Times } from "./rounds.ts";
import { withWorkdir } from "./workdir.ts";

function run(file: string, args: readonly string[], input: Uint8Array | string, fds: readonly number[] = []): string {
  const child = spawnSync(file, args, { input, stdio: ["pipe", "pipe", "inherit", ...fds], encoding: "utf8" });
  if (child.status !== 0) throw new Error(`${file} ended with ${child.status ?? child.signal}`, { cause: child.error });
  return child.stdout;
}

/** The lines that native.cc prints: median and minimum in microseconds. */
function times(line: string | undefined): Times {
  const [median = Number.NaN, best = Number.NaN] = (line ?? "").split(" ").map((text) => Number(text) / 1000);
  return { median, best };
}

/**
 * The request, the init and its record without JavaScript: a program in C++ speaks native/wire.h to a sandbox that this
 * process made, while this process stands still.
 */
export const nativeLayer: Benchmark = {
  name: "native",
  run: async (scale) => {
    const compiler = findOnPath(process.env["CXX"] ?? "g++");
    if (compiler === null) return [{ name: "native", skipped: "no g++ to compile its program with" }];
    return withWorkdir(async (workdir) => {
      const program = join(workdir, "native");
      run(
        compiler,
        ["-O2", "-std=c++17", "-I", join(root, "native"), join(import.meta.dirname, "native.cc"), "-o", program],
        "",
      );
      let line: Launched | undefined;
      const sandbox = await Sandbox.create({ workdir }, { onLaunched: (launched) => (line = launched) });
      try {
        if (line === undefined) throw new Error("the sandbox was made without a launch");
        const { environment, cwd } = sandbox.plan;
        const request = execRequest({
          id: 0,
          quiet: true,
          layer: layerIds.base,
          file: "/bin/true",
          cwd,
          path: environment["PATH"] ?? "",
          args: ["/bin/true"],
          env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
        });
        const output = run(program, [String(Math.ceil(1000 * scale)), "50"], request, [line.control, line.events]);
        const [confined, bare] = output.split("\n");
        return [
          {
            name: "native",
            what: "request to exit record, in C++",
            base: "vfork and exec of /bin/true",
            times: times(confined),
            baseTimes: times(bare),
            bar: 1.25,
          },
        ];
      } finally {
        await sandbox.dispose();
      }
    });
  },
};
