import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { styleText } from "node:util";
import { Command } from "commander";
import { HoldfastError } from "../errors.ts";
import { examineHost, type Finding, whoami } from "../host/doctor.ts";
import { root } from "../native.ts";
import { privateRoot } from "../sandbox/private-root.ts";
import { Sandbox } from "../sandbox/sandbox.ts";

/** `holdfast doctor`: each wall, whether this host gives it, how that was found out, and what would give it. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description(
      "what this host gives, wall by wall, and what would give the rest; exit status 0 when all required walls stand",
    )
    .option("--json", "print JSON")
    .action(async (options: { json?: boolean }) => {
      process.exitCode = await doctor(options.json ?? false);
    });
}

async function doctor(json: boolean): Promise<number> {
  const findings = [...examineHost(privateRoot()), ...(await wholeSandbox())];
  const fine = findings.every(({ required, status }) => !required || status !== "unavailable");
  if (json) {
    process.stdout.write(`${JSON.stringify({ fine, host: facts(), walls: findings }, null, 2)}\n`);
    return fine ? 0 : 1;
  }
  for (const [name, value] of Object.entries(facts())) process.stdout.write(`${name.padEnd(10)} ${value}\n`);
  process.stdout.write("\n");
  const width = Math.max(...findings.map(({ wall }) => wall.length));
  for (const finding of findings) print(finding, width);
  process.stdout.write(`\n${fine ? "every required wall stands" : "a required wall is missing: nothing will run"}\n`);
  return fine ? 0 : 1;
}

const styles = { enforced: "green", partial: "yellow", unavailable: "red" } as const;

function print({ wall, status, detail, probe, remedy, required }: Finding, width: number): void {
  const word = styleText(styles[status], status.padEnd(11), { stream: process.stdout });
  process.stdout.write(`${word} ${wall.padEnd(width)}  ${detail}${required ? "" : " (not required)"}\n`);
  process.stdout.write(
    `${" ".repeat(width + 14)}${styleText("dim", `found by: ${probe}`, { stream: process.stdout })}\n`,
  );
  if (remedy !== undefined) process.stdout.write(`${" ".repeat(width + 14)}to get it: ${remedy}\n`);
}

/** Raises every wall at once, as a run does; the init proves each by trying what it forbids. In all three workspace modes. */
async function wholeSandbox(): Promise<Finding[]> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-doctor-"));
  const findings: Finding[] = [];
  try {
    for (const workspace of ["direct", "overlay"] as const) {
      const common = {
        wall: workspace === "direct" ? "all-together" : "overlay-workspace",
        required: workspace === "direct",
        probe: "a whole sandbox, whose init tries one forbidden thing for each wall",
      } as const;
      try {
        const sandbox = await Sandbox.create({ workdir: folder, workspace });
        const proved = sandbox.enforcement.filter(({ status }) => status === "enforced").map(({ wall }) => wall);
        await sandbox.dispose();
        findings.push({ ...common, status: "enforced", detail: `proved: ${proved.join(", ")}` });
      } catch (error) {
        const known = HoldfastError.is(error);
        findings.push({
          ...common,
          status: "unavailable",
          detail: known ? error.message : String(error),
          ...(known ? { remedy: error.hint } : {}),
        });
      }
    }
    return findings;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Which addon was loaded, and what it runs on. */
function facts(): Record<string, string> {
  const file = [join(root, "build", "Release", "holdfast.node"), join(root, "prebuilds", `linux-${process.arch}`)].find(
    (path) => existsSync(path),
  );
  const hash = file?.endsWith(".node") ? createHash("sha256").update(readFileSync(file)).digest("hex") : "";
  return {
    kernel: release(),
    user: whoami(),
    node: `${process.versions.node} (Node-API ${process.versions["napi"] ?? "?"})`,
    addon: file === undefined ? "not found" : `${file}${hash === "" ? "" : `, sha256 ${hash}`}`,
  };
}
