import { HoldfastError } from "../errors.ts";
import { probeNamespaces } from "../host/namespaces.ts";
import { ownProcCovers, uncoverProc } from "../host/proc-covers.ts";
import { isNativeFailure } from "../native.ts";
import { opCodes } from "../plan/encode.ts";
import { wallNumbers } from "../plan/launch-plan.ts";
import { placeIn, requiredBy } from "../plan/requires.ts";
import { defaultPolicy } from "../policy/default-policy.ts";
import type { Policy } from "../policy/policy.ts";
import { quote } from "../policy/problem.ts";
import { errnoName } from "./process.ts";

const walls = new Map<number, string>(Object.entries(wallNumbers).map(([name, number]) => [number, name]));
const operations = new Map<number, string>(Object.entries(opCodes).map(([name, number]) => [number, name]));

/** A launch that failed, in words: which wall or step, on what, why, and what to do. */
export function launchError(cause: unknown, policy: Policy = defaultPolicy): unknown {
  if (!isNativeFailure(cause)) return cause;
  const errno = cause.errno === 0 ? undefined : errnoName(cause.errno);
  const on = cause.path === "" ? "" : ` on ${cause.path}`;
  const details = {
    ...(errno === undefined ? {} : { errno }),
    syscall: cause.syscall,
    ...(cause.path === "" ? {} : { path: cause.path }),
    cause,
  };
  if (cause.step === "verify") {
    const wall = walls.get(cause.wall) ?? "a wall";
    const found = errno === undefined ? "was not refused" : `could not be tried (${errno})`;
    return new HoldfastError(`the wall ${wall} does not stand: the init's attempt to ${cause.syscall}${on} ${found}`, {
      code: "ERR_HOLDFAST_WALL_NOT_STANDING",
      step: "verify",
      hint: "Nothing was run. `holdfast doctor` probes each wall of this host.",
      ...details,
    });
  }
  const making = cause.step === "clone" || cause.syscall === "unshare";
  if (making && (errno === "EPERM" || errno === "ENOSPC" || errno === "EACCES" || errno === "EUSERS")) {
    // The launch asked for all of them at once: which one it was is asked now.
    const refused = probeNamespaces().find(({ status }) => status !== "enforced");
    return new HoldfastError(
      refused === undefined
        ? `this host refused new namespaces to this user (${cause.syscall}: ${errno})`
        : `this host does not give the wall ${refused.wall}${requiredBy(policy, refused.wall)}: ${refused.detail}`,
      {
        code: "ERR_HOLDFAST_WALL_UNAVAILABLE",
        step: "namespace",
        hint: `${refused?.remedy === undefined ? "" : `${refused.remedy}; `}\`holdfast doctor\` says more.`,
        ...details,
      },
    );
  }
  const operation = cause.step === "setup" ? operations.get(cause.wall) : undefined;
  if (operation === "proc" && errno === "EPERM") {
    // No way round it: the host's own proc would show every process of the host, and without one the init could not
    // watch limits, nor would runtimes start that read /proc/self.
    const covers = ownProcCovers();
    const parts = covers.length === 0 ? "parts of /proc" : `parts of /proc (${covers.join(", ")})`;
    return new HoldfastError(
      `${parts} are covered here, and while they are the kernel gives a sandbox no /proc of its own (${cause.syscall}: ${errno})`,
      { code: "ERR_HOLDFAST_WALL_UNAVAILABLE", step: "mount", hint: uncoverProc(covers), ...details },
    );
  }
  if (operation === "keyring" && errno === "EDQUOT") {
    return new HoldfastError(
      "this user has as many kernel keyrings as it may have, and each sandbox needs one (keyctl: EDQUOT)",
      {
        code: "ERR_HOLDFAST_LAUNCH",
        step: "clone",
        hint: "Have fewer sandboxes at once, or let the host's root raise the number: sysctl kernel.keys.maxkeys=2000",
        ...details,
      },
    );
  }
  const step =
    operation === "ruleset" || operation === "restrict"
      ? "landlock"
      : operation === "seccomp"
        ? "seccomp"
        : cause.step === "limits"
          ? "limits"
          : cause.step === "setup" || cause.step === "mount"
            ? "mount"
            : "clone";
  if (cause.syscall === "open" && errno === "EACCES") {
    // Root can see it, the user that the sandbox then is cannot.
    const { readOnly, readWrite } = policy.filesystem;
    const grant = [...readOnly, ...readWrite].find(({ path }) => path === cause.path);
    return new HoldfastError(
      `${placeIn(policy, grant)}: ${quote(cause.path)} cannot be reached by the user that the sandbox runs as`,
      {
        code: "ERR_HOLDFAST_LAUNCH",
        step,
        hint: "Let that user through the folders above it, take it out of the policy, or start holdfast as its owner.",
        ...details,
      },
    );
  }
  const missing = cause.syscall === "open_tree" && errno === "ENOENT";
  return new HoldfastError(
    missing
      ? `${cause.path} does not exist`
      : `the sandbox could not be built: ${cause.syscall}${on} failed (${errno ?? "?"})`,
    {
      code: missing ? "ERR_HOLDFAST_PATH_MISSING" : "ERR_HOLDFAST_LAUNCH",
      step,
      hint: missing
        ? "Create it, or take it out of the policy."
        : "Nothing was run. `holdfast doctor` probes each wall of this host.",
      ...details,
    },
  );
}
