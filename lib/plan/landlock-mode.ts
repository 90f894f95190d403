import { HoldfastError } from "../errors.ts";
import type { HostCapabilities } from "../host/capabilities.ts";
import { isWithin } from "../host/paths.ts";
import { hasEgress } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import { environment } from "./environment.ts";
import { filterFor, filterOptions } from "./filter.ts";
import { identity } from "./identity.ts";
import { type LandlockGrants, pathRuleset, readOnlyOverPaths } from "./landlock.ts";
import { type Identity, initSteps, type LaunchPlan, type Verification } from "./launch-plan.ts";
import { cgroupLimits, sharedRlimits, watchedLimits } from "./limits.ts";
import { isOwn, writableSources } from "./mounts.ts";
import { assertRequired } from "./requires.ts";
import type { OwnFolders, Workspace } from "./workspace.ts";

/** The first ABI that keeps signals and abstract sockets inside (Linux 6.12): nothing else would hold them here. */
const neededAbi = 6;

/** What everybody on the host can read of /etc, beside the names that every sandbox sees: users, and names of hosts. */
const hostEtc = ["passwd", "group"];

/** Of /proc what says nothing of a process: processors, memory, time. */
const harmlessProc = ["cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version", "sys/vm", "sys/fs"];

const devices = ["null", "zero", "full", "random", "urandom", "tty"];

function unavailable(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, { code: "ERR_HOLDFAST_WALL_UNAVAILABLE", step: "landlock", hint });
}

/**
 * A sandbox on a host that gives no namespaces: the same grants, held by Landlock, the filter and the broker alone. What
 * these cannot hold and the policy asks for is refused here; what they cannot hold in any case stands in docs/hosts.md.
 *
 * @throws HoldfastError ERR_HOLDFAST_WALL_UNAVAILABLE
 */
export function landlockPlan(
  policy: Policy,
  host: HostCapabilities,
  workspace: Workspace,
  own: OwnFolders,
): LaunchPlan {
  if (host.landlockAbi < neededAbi) {
    throw unavailable(
      `without namespaces Landlock's ABI ${neededAbi} is needed (Linux 6.12), this kernel has ${host.landlockAbi}`,
      "Boot a newer kernel, or give this user namespaces; `holdfast doctor` says how.",
    );
  }
  const mapped = identity(policy, host, workspace.owner);
  // Nothing is mapped: who it is on the host it is inside.
  const who: Identity = { ...mapped, uid: mapped.hostUid, gid: mapped.hostGid };
  assertHoldable(workspace, who);
  const grants = grantsOf(policy, host, workspace, own);
  const abi = host.landlockAbi;
  const verify: Verification[] = [
    { wall: "capabilities" },
    { wall: "no-new-privs" },
    { wall: "not-dumpable" },
    { wall: "landlock-filesystem", path: own.canary },
    { wall: "landlock-signal" },
    { wall: "landlock-abstract" },
    { wall: "landlock-network" },
    { wall: "seccomp" },
    { wall: "socket-filter" },
  ];
  const made: LaunchPlan = {
    namespaces: [],
    identity: who,
    hostname: "",
    mounts: [],
    idMapped: [],
    steps: initSteps.filter((step) => step !== "loopback"),
    sysctls: [],
    egress: hasEgress(policy) ? { port: 0 } : null,
    // The init reads /proc, to see what its calls use, and opens terminals; calls do neither.
    landlock: {
      abi,
      base: pathRuleset(abi, {
        ...grants,
        read: [...grants.read, "/proc"],
        devices: [...grants.devices, "/dev/ptmx", "/dev/pts"],
      }),
      call: pathRuleset(abi, grants),
      readOnly: readOnlyOverPaths(abi, grants),
    },
    seccomp: filterFor(host.architecture, {
      traceOpens: workspace.seccomp.traceOpens,
      ...filterOptions(policy),
      noNamespaces: true,
      madeSockets: own.madeSockets,
    }),
    rlimits: sharedRlimits(policy, workspace, own.userTasks),
    watched: { ...watchedLimits(policy, workspace), tmpPath: null },
    cgroup: cgroupLimits(policy, workspace),
    verify,
    folders: { writable: grants.write, readOnly: grants.read, sources: writableSources(workspace) },
    territory: {
      writable: grants.write,
      readable: [...grants.read, ...grants.devices],
      loopback: own.loopback,
    },
    environment: environment(
      policy,
      {
        ...workspace,
        environment: {
          HOME: own.home,
          TMPDIR: own.tmp,
          // What is there and cannot be read ends git; what it is told not to look for does not.
          GIT_CONFIG_NOSYSTEM: "1",
          // There is no UDP: names are asked for over TCP (resolver(5)), at the loopback.
          RES_OPTIONS: "use-vc",
          ...(hasEgress(policy) ? { GODEBUG: "netdns=cgo", GRPC_DNS_RESOLVER: "native" } : {}),
          ...workspace.environment,
        },
      },
      own.trust ?? null,
    ),
    cwd: workspace.path,
  };
  assertRequired(policy, made, workspace);
  return made;
}

/** What mounts hold elsewhere and nothing holds here. */
function assertHoldable(workspace: Workspace, who: Identity): void {
  const { access, path, hostPath, owner, mode, grants, covered, privateFolders } = workspace;
  const hint = "Give this host's user namespaces (`holdfast doctor` says how), or change what is granted.";
  if (mode === "direct" && path !== hostPath) {
    throw unavailable(`without namespaces ${hostPath} cannot be shown at ${path}`, hint);
  }
  if (privateFolders.length > 0) {
    throw unavailable(
      `without namespaces there are no private folders at paths of their own: ${privateFolders[0]}`,
      hint,
    );
  }
  if (covered.length > 0) {
    throw unavailable(
      `without namespaces nothing covers ${covered[0]}, which is holdfast's own and lies in what is granted`,
      "Work in a folder that does not hold holdfast's own, such as a project's.",
    );
  }
  if (who.drop && mode === "direct" && access === "read-write" && owner.uid !== who.hostUid) {
    throw unavailable(
      `without namespaces ${hostPath}, which is root's, cannot be written by the user that the sandbox runs as (uid ${who.hostUid})`,
      "Give the folder to an ordinary user, or keep the writes apart with --overlay.",
    );
  }
  const open = grants.filter((grant) => grant.access === "write" && !isOwn(grant.path)).map(({ source }) => source);
  if (access === "read-write") open.push(path);
  const narrowed = [
    ...grants.filter((grant) => grant.access === "read" && !isOwn(grant.path)).map(({ source }) => source),
    ...(access === "read-only" ? [path] : []),
  ].find((source) => open.some((folder) => folder !== source && isWithin(source, folder)));
  if (narrowed !== undefined) {
    throw unavailable(
      `without namespaces ${narrowed} cannot be read-only in a folder that is writable: Landlock's rights add up`,
      hint,
    );
  }
}

function grantsOf(policy: Policy, host: HostCapabilities, workspace: Workspace, own: OwnFolders): LandlockGrants {
  const read: string[] = [
    // Where names are the broker's to answer, a hosts file would lead past it.
    ...[...host.etc.keys(), ...hostEtc, ...(hasEgress(policy) ? [] : ["hosts"])].map((name) => `/etc/${name}`),
    ...(own.trust?.files ?? []).map(({ path }) => path),
    ...harmlessProc.map((name) => `/proc/${name}`),
  ];
  const write = [own.tmp, own.home];
  const nodes = devices.filter((name) => host.devices.includes(name)).map((name) => `/dev/${name}`);
  for (const grant of workspace.grants) {
    if (isOwn(grant.path)) continue;
    if (grant.kind === "device") nodes.push(grant.source);
    else (grant.access === "read" ? read : write).push(grant.source);
  }
  if (workspace.access !== "none") (workspace.access === "read-write" ? write : read).push(workspace.path);
  if (workspace.toolRuntime !== null) read.push(workspace.toolRuntime.node, workspace.toolRuntime.programs);
  return { read, write, devices: nodes };
}
