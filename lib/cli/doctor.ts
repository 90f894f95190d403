import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { styleText } from "node:util";
import { Command } from "commander";
import { examineHost, whoami } from "../host/doctor.ts";
import type { Finding } from "../host/finding.ts";
import { addonFile, native } from "../native.ts";
import { privateRoot } from "../sandbox/private-root.ts";
import { tryMounts, trySandboxes, tryWithoutNamespaces } from "../sandbox/trial.ts";

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
  const findings = await examine();
  const fine = !findings.some(isMissing);
  if (json) process.stdout.write(`${JSON.stringify({ fine, host: facts(), walls: findings }, null, 2)}\n`);
  else process.stdout.write(table(findings, fine));
  return fine ? 0 : 1;
}

async function examine(): Promise<Finding[]> {
  const found = examineHost(privateRoot());
  const hasNamespaces = !found.some((finding) => isMissing(finding) && isNamespace(finding));
  // What nothing can run without is then another mode's.
  const findings = hasNamespaces ? found : found.map((one) => (isNamespace(one) ? { ...one, required: false } : one));
  try {
    const withNamespaces = [
      ["mounting", tryMounts],
      ["raising whole sandboxes", trySandboxes],
    ] as const;
    const without = ["raising a sandbox without namespaces", () => tryWithoutNamespaces(!hasNamespaces)] as const;
    for (const [what, attempt] of [...(hasNamespaces ? withNamespaces : []), without]) {
      // What is missing already would only fail a second time.
      if (findings.some(isMissing)) break;
      progress(what);
      findings.push(...(await attempt()));
    }
  } finally {
    progress("");
  }
  return findings;
}

function isNamespace({ wall }: Finding): boolean {
  return wall.endsWith("-namespace");
}

function isMissing({ required, status }: Finding): boolean {
  return required && status === "unavailable";
}

/** One line on a terminal, replaced by the next; nothing elsewhere. */
function progress(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${what === "" ? "" : `holdfast: ${what} …`}`);
}

const styles = { enforced: "green", partial: "yellow", unavailable: "red" } as const;

function paint(style: "green" | "yellow" | "red" | "dim" | "bold" | "cyan", text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

function table(findings: readonly Finding[], fine: boolean): string {
  const width = Math.max(...findings.map(({ wall }) => wall.length));
  const indent = " ".repeat(width + 15);
  const row = ({ wall, status, detail, probe, remedy }: Finding): string =>
    [
      `  ${paint(styles[status], status.padEnd(11))} ${wall.padEnd(width)} ${detail}`,
      `${indent}${paint("dim", `found by ${probe}`)}`,
      ...(remedy === undefined ? [] : [`${indent}${paint("cyan", `to get it: ${remedy}`)}`]),
    ].join("\n");
  const group = (title: string, members: readonly Finding[]): string =>
    members.length === 0 ? "" : `\n${paint("bold", title)}\n${members.map(row).join("\n")}\n`;
  const lines = Object.entries(facts()).map(([name, value]) => `${name.padEnd(10)} ${value}`);
  return [
    `${lines.join("\n")}\n`,
    group(
      "Required: without one of these nothing runs",
      findings.filter(({ required }) => required),
    ),
    group(
      "Further",
      findings.filter(({ required }) => !required),
    ),
    `\n${fine ? "Every required wall stands." : "A required wall is missing: nothing will run here."}\n`,
  ].join("");
}

/** Which addon was loaded, and what it runs on. */
function facts(): Record<string, string> {
  const file = addonFile();
  return {
    kernel: release(),
    landlock: `ABI ${native().probe().landlockAbi}`,
    user: whoami(),
    node: `${process.versions.node} (Node-API ${process.versions["napi"] ?? "?"}; the addon needs 9)`,
    addon: file,
    sha256: createHash("sha256").update(readFileSync(file)).digest("hex"),
  };
}
