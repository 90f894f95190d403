import { dirname, resolve } from "node:path";
import type { HostCapabilities } from "../host/capabilities.ts";
import { foldersBetween, isWithin } from "../host/paths.ts";
import { hasEgress } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import { etcSteps } from "./etc.ts";
import { mountMap } from "./identity.ts";
import type { BindStep, Identity, IdMapped, MountStep, TrustFiles } from "./launch-plan.ts";
import { homeFolder, type ResolvedGrant, toolFolder, type Workspace } from "./workspace.ts";

/** Where an overlay's layers stand while the view is built; gone when it is done. */
const layers = "/.layers";

/** Folders that a policy may name but that are always the sandbox's own. */
const own: ReadonlySet<string> = new Set([
  "/tmp",
  "/var/tmp",
  "/proc",
  "/dev",
  "/etc",
  "/dev/shm",
  "/dev/pts",
  homeFolder,
]);

/** The file that no Landlock rule grants: the init tries to open it. */
export const canaryPath: string = `${toolFolder}/canary`;

const defaultTmpBytes = 2 * 1024 ** 3;

/** The kernel keeps about a kilobyte for each name, beside the size: a page a file, and room for a small one's many. */
function inodesFor(bytes: number): number {
  return Math.max(16_384, Math.ceil(bytes / 4096));
}

export interface MountPlan {
  readonly steps: readonly MountStep[];
  readonly idMapped: readonly IdMapped[];
  /** Paths inside by what Landlock is to allow there. */
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly devices: readonly string[];
  /** Folders on read-only mounts, for the init to try. */
  readonly readOnlyFolders: readonly string[];
}

/** Whether a granted path is answered by the sandbox's own folder of that name. */
export function isOwn(path: string): boolean {
  return (
    own.has(path) ||
    isWithin(path, "/proc") ||
    isWithin(path, toolFolder) ||
    /^\/dev\/(null|zero|full|random|urandom|tty|ptmx|fd|std\w+)(\/|$)/.test(path)
  );
}

/** Of what of the host can be written, where it lies there. */
export function writableSources({ access, mode, hostPath, grants }: Workspace): string[] {
  const written = grants.filter((grant) => grant.access === "write" && grant.kind !== "device" && !isOwn(grant.path));
  const isWorkspace = access === "read-write" && mode === "direct";
  return [...(isWorkspace ? [hostPath] : []), ...written.map(({ source }) => source)];
}

/** The mount view: nothing exists in it but what is put there. */
export function mountPlan(
  policy: Policy,
  host: HostCapabilities,
  identity: Identity,
  workspace: Workspace,
  trust: TrustFiles | null,
): MountPlan {
  const steps: MountStep[] = [];
  const idMapped: IdMapped[] = [];
  const read = ["/etc", "/proc"];
  const write: string[] = [];
  const readOnlyFolders = trust === null ? ["/", "/etc"] : ["/"];

  // Only where root started the sandbox: what a policy grants by name is shown as the sandbox's own, the system is not.
  const mapped = (source: string, owner: { uid: number; gid: number }): number | undefined => {
    if (!identity.drop || (owner.uid === identity.hostUid && owner.gid === identity.hostGid)) return undefined;
    return (
      idMapped.push({
        source,
        recursive: true,
        uidMap: mountMap(owner.uid, identity.hostUid),
        gidMap: mountMap(owner.gid, identity.hostGid),
      }) - 1
    );
  };
  const bind = (step: Omit<BindStep, "op" | "idMapped">, place?: number): void => {
    steps.push({ op: "bind", ...step, ...(place === undefined ? {} : { idMapped: place }) });
  };

  /** Makes writable folders mount points: one that was renamed would leave its place to another. */
  const pinned = new Set<string>();
  const pin = (folders: readonly string[]): void => {
    for (const path of folders) {
      if (!pinned.has(path)) bind({ source: path, path, from: "inside", readOnly: false });
      pinned.add(path);
    }
  };

  steps.push({
    op: "root",
    sizeBytes: 4 * 1024 * 1024 + (trust?.bytes ?? 0),
    inodes: 4096 + (trust?.steps.length ?? 0),
  });
  steps.push(...etcSteps(identity, homeFolder, host.etc, hasEgress(policy), trust));
  steps.push(...privateSteps(policy, write, workspace));
  steps.push(...deviceSteps(host), ...procSteps());

  const grants = visible(workspace.grants);
  for (const grant of grants) {
    if (isOwn(grant.path)) continue;
    const around = enclosing(grant, grants);
    const covered = around?.access === grant.access;
    for (const link of grant.links) {
      if (!workspace.grants.some((other) => other !== grant && isWithin(dirname(link.path), other.source)))
        steps.push({ op: "mkdir", path: dirname(link.path), mode: 0o755 }, { op: "symlink", ...link });
    }
    if (covered) continue;
    const readOnly = grant.access === "read";
    if (readOnly && around?.access === "write") pin(foldersBetween(outermost(grant, grants), grant.source));
    bind(
      { source: grant.source, path: grant.source, from: "host", readOnly, device: grant.kind === "device" },
      grant.system || grant.kind === "device" ? undefined : mapped(grant.source, grant.owner),
    );
    (readOnly ? read : write).push(grant.source);
    // In sysfs no folder can be tried to be made: what is refused there is no wall's doing.
    const canBeTried = grant.kind === "directory" && !isWithin(grant.source, "/sys");
    if (readOnly && canBeTried && readOnlyFolders.length < 4) readOnlyFolders.push(grant.source);
  }
  // A merged /usr: whoever grants /usr means its programs to start, and they name /lib64 and /bin.
  for (const { path, link } of host.topLevel) {
    if (link === null || workspace.grants.some((grant) => grant.path === path)) continue;
    const target = resolve("/", link);
    if (workspace.grants.some((grant) => isWithin(target, grant.source)))
      steps.push({ op: "symlink", target: link, path });
  }
  if (workspace.access === "read-only" && workspace.privateFolder === null) {
    const around = grants.findLast((grant) => isWithin(workspace.path, grant.source));
    if (around?.access === "write") pin(foldersBetween(outermost(around, grants), workspace.path));
  }
  workspaceSteps(workspace, bind, mapped, steps);
  pinned.clear(); // those in the workspace are hidden by it
  if (workspace.access !== "none") (workspace.access === "read-write" ? write : read).push(workspace.path);
  // A grant below the workspace was hidden by it: bind it again on top.
  const below = grants.filter(
    ({ path, source }) => !isOwn(path) && source !== workspace.path && isWithin(source, workspace.path),
  );
  const bindAgain = (grant: ResolvedGrant): void => {
    const readOnly = grant.access === "read";
    bind({ source: grant.source, path: grant.source, from: "host", readOnly }, mapped(grant.source, grant.owner));
  };
  for (const grant of below) {
    const around = enclosing(grant, below);
    const isOpen = around === undefined ? workspace.access === "read-write" : around.access === "write";
    if (grant.access === "read" && isOpen) {
      const folders = foldersBetween(outermost(grant, below, workspace.path), grant.source);
      // In a folder that began empty they are not there yet.
      if (workspace.mode === "fresh") for (const path of folders) steps.push({ op: "mkdir", path, mode: 0o755 });
      pin(folders);
    }
    bindAgain(grant);
  }
  if (workspace.access === "read-write") {
    pin(workspace.pinned.map((name) => `${workspace.path}/${name}`));
    for (const name of workspace.readOnly) {
      const path = `${workspace.path}/${name}`;
      bind({ source: path, path, from: "inside", readOnly: true });
      // What is granted by name in a protected folder was hidden by this.
      for (const grant of below) if (grant.source !== path && isWithin(grant.source, path)) bindAgain(grant);
    }
  }
  for (const path of workspace.covered) steps.push({ op: "mask", path });
  if (workspace.toolRuntime !== null) {
    bind({ source: workspace.toolRuntime.node, path: `${toolFolder}/node`, from: "host", readOnly: true });
    bind({ source: workspace.toolRuntime.programs, path: `${toolFolder}/programs`, from: "host", readOnly: true });
    read.push(`${toolFolder}/node`, `${toolFolder}/programs`);
  }
  steps.push({ op: "mkdir", path: toolFolder, mode: 0o755 });
  steps.push({ op: "file", path: canaryPath, mode: 0o644, content: "canary\n" });
  steps.push({ op: "read-only", path: "/" });
  return { steps, idMapped, read, write, devices: ["/dev"], readOnlyFolders };
}

/** One tmpfs for everything private, so that one size bounds it. */
function privateSteps(policy: Policy, write: string[], workspace: Workspace): MountStep[] {
  const sizeBytes = policy.limits.tmpSizeBytes ?? defaultTmpBytes;
  const steps: MountStep[] = [
    { op: "scratch", sizeBytes, inodes: inodesFor(sizeBytes) },
    { op: "mkdir", path: "/run", mode: 0o755 },
    { op: "mkdir", path: "/root", mode: 0o700 },
  ];
  const places: [string, string, number][] = [
    ["tmp", "/tmp", 0o1777],
    ["var-tmp", "/var/tmp", 0o1777],
    ["shm", "/dev/shm", 0o1777],
    ["home", homeFolder, 0o700],
    ...workspace.privateFolders.map((path, i): [string, string, number] => [`private-${i}`, path, 0o700]),
  ];
  for (const [name, path, mode] of places) {
    steps.push({ op: "private", name, path, mode });
    write.push(path);
  }
  return steps;
}

function procSteps(): MountStep[] {
  // What no program needs and a curious one could learn the host from: its devices, when keys are typed (interrupts).
  const masked = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
  ];
  return [{ op: "proc", path: "/proc" }, ...masked.map((name): MountStep => ({ op: "mask", path: `/proc/${name}` }))];
}

function deviceSteps(host: HostCapabilities): MountStep[] {
  return [
    ...host.devices.map(
      (name): MountStep => ({
        op: "bind",
        source: `/dev/${name}`,
        path: `/dev/${name}`,
        from: "host",
        // Devices are written all the same; their times, which everybody outside can read, are not.
        readOnly: true,
        device: true,
      }),
    ),
    { op: "devpts", path: "/dev/pts" },
    { op: "symlink", target: "pts/ptmx", path: "/dev/ptmx" },
    { op: "symlink", target: "/proc/self/fd", path: "/dev/fd" },
    { op: "symlink", target: "/proc/self/fd/0", path: "/dev/stdin" },
    { op: "symlink", target: "/proc/self/fd/1", path: "/dev/stdout" },
    { op: "symlink", target: "/proc/self/fd/2", path: "/dev/stderr" },
  ];
}

/** The nearest of the sorted grants that a grant lies in: one further out says nothing, since another may stand between. */
function enclosing(grant: ResolvedGrant, grants: readonly ResolvedGrant[]): ResolvedGrant | undefined {
  return grants.findLast((other) => other.source !== grant.source && isWithin(grant.source, other.source));
}

/** From where on a grant lies in nothing but writable folders; what is above is read-only, and holds. */
function outermost(grant: ResolvedGrant, grants: readonly ResolvedGrant[], top?: string): string {
  const around = grants.filter((other) => other.source !== grant.source && isWithin(grant.source, other.source));
  return around.findLast(({ access }) => access === "read")?.source ?? top ?? around[0]?.source ?? grant.source;
}

/** Parents before what lies in them, each path once; a grant to write beats one to read. */
function visible(grants: readonly ResolvedGrant[]): ResolvedGrant[] {
  const byPath = new Map<string, ResolvedGrant>();
  for (const grant of grants) {
    const known = byPath.get(grant.source);
    if (known === undefined || grant.access === "write") byPath.set(grant.source, grant);
  }
  return [...byPath.values()].sort((a, b) => (a.source < b.source ? -1 : 1));
}

function workspaceSteps(
  workspace: Workspace,
  bind: (step: Omit<BindStep, "op" | "idMapped">, place?: number) => void,
  mapped: (source: string, owner: { uid: number; gid: number }) => number | undefined,
  steps: MountStep[],
): void {
  const { hostPath, path, privateFolder, owner } = workspace;
  if (workspace.access === "none") {
    steps.push({ op: "mkdir", path, mode: 0o755 });
    return;
  }
  const readOnly = workspace.access === "read-only";
  if (workspace.mode === "overlay" && privateFolder !== null && workspace.copiedAt === undefined) {
    bind({ source: hostPath, path: `${layers}/lower`, from: "host", readOnly: true }, mapped(hostPath, owner));
    bind({ source: privateFolder, path: `${layers}/private`, from: "host", readOnly: false });
    steps.push({
      op: "overlay",
      lower: `${layers}/lower`,
      upper: `${layers}/private/up`,
      work: `${layers}/private/work`,
      path,
    });
    steps.push({ op: "unmount", path: `${layers}/private` }, { op: "unmount", path: `${layers}/lower` });
    return;
  }
  if (privateFolder !== null) {
    bind({ source: `${privateFolder}/up`, path, from: "host", readOnly });
    return;
  }
  bind({ source: hostPath, path, from: "host", readOnly }, mapped(hostPath, owner));
}
