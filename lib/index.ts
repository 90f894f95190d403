/**
 * holdfast: confined children for Node programs.
 *
 * @example
 * import { Sandbox, loadPolicy } from "holdfast";
 *
 * await using sandbox = await Sandbox.create({ policy: loadPolicy("policy.yaml"), workdir: "." });
 * const { stdout, exitCode, denials } = await sandbox.exec("npm", ["test"], { timeoutMs: 60_000 });
 *
 * @packageDocumentation
 */

export { Audit, type AuditEvent, type AuditSink, fileSink } from "./audit/audit.ts";
export type { Envelope } from "./audit/dsse.ts";
export { checkReceipt, type Receipt } from "./audit/receipt-check.ts";
export { readKey as readReceiptKey } from "./audit/receipt-key.ts";
export type { Unlisted, UnlistedLog } from "./egress/unlisted.ts";
export { type ErrorStep, HoldfastError } from "./errors.ts";
export type { HostCapabilities } from "./host/capabilities.ts";
export { loadPolicy, type ParsedPolicy, parsePolicy } from "./policy/load.ts";
export type { ExtractRule, Limits, PathGrant, Policy, PolicyProblem, WallName } from "./policy/policy.ts";
export { type PresetName, presetPolicy } from "./policy/presets.ts";
export type { ApplyOptions, ApplyResult, RefusalReason } from "./sandbox/apply.ts";
export type { Change, ChangeProblem, ChangeSet } from "./sandbox/changes.ts";
export type { Entry, EntryType } from "./sandbox/directory.ts";
export { displayPath } from "./sandbox/display-path.ts";
export { ExecError } from "./sandbox/exec-error.ts";
export type { ExtractedFile, ExtractOptions, ExtractPathsOptions, KeptBack, Manifest } from "./sandbox/extract.ts";
export type { Forward, ForwardOptions } from "./sandbox/forward.ts";
export type { ImportedFile, ImportResult } from "./sandbox/import.ts";
export { SandboxPool } from "./sandbox/pool.ts";
export { renderDiff } from "./sandbox/render-diff.ts";
export { Sandbox, thisHost as probe } from "./sandbox/sandbox.ts";
export type {
  Denial,
  ExecOptions,
  ExecResult,
  Mode,
  OpenOutcome,
  PathRules,
  SandboxFiles,
  SandboxOptions,
  SandboxProcess,
  SpawnOptions,
  Stdio,
  Unreached,
  Usage,
  WallStatus,
  WriteOutcome,
  WriteRules,
} from "./sandbox/types.ts";
