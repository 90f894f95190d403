import { constants } from "node:os";
import { otherNames, ownMountinfo } from "../host/mount-names.ts";
import { namespaceFlags } from "../host/namespaces.ts";
import { isWithin } from "../host/paths.ts";
import { type BrokerOwnFiles, initFile, type Launched, type NativeFailure, native, noCgroupEvents } from "../native.ts";
import { encodePlan, opCodes } from "../plan/encode.ts";
import type { LaunchPlan, SharedStep } from "../plan/launch-plan.ts";
import { type Architecture, type NotificationPurpose, syscallName } from "../plan/seccomp-profile.ts";
import type { SandboxCgroup } from "./cgroup.ts";
import { Channel } from "./channel.ts";
import { type HandedFolder, keepHanded, stopHanding, takeHanded } from "./handed-folders.ts";
import type { Mode } from "./types.ts";

/** What every plan has, unless a test takes one away. */
const allNamespaces = Object.values(namespaceFlags).reduce((flags, flag) => flags | flag, 0);

/** An init that is gone is heard of at once: this is for one that hangs, also on a machine with too much to do. */
const timeoutMs = 30_000;
const enetunreach = 101;
const eperm = 1;
const eacces = 13;

/** An init behind its walls, proved, with nothing started yet. */
export interface LiveInit extends Launched {
  readonly channel: Channel;
  /** Of the broker that answers for it; 0 where its filter hands nothing out. */
  readonly broker: number;
  /** Sockets at its name server; -1 where there is no network. */
  readonly resolver: { readonly datagrams: number; readonly streams: number };
}

/**
 * Starts an init, on the addon's thread, while the plan is made that tells it what to raise: cloning it takes longer than
 * the plan. What this returns goes to `launch` or to `abandon`.
 */
export function begin(mode: Mode): number {
  return native().begin(mode === "landlock" ? 0 : allNamespaces, initFile());
}

/** Ends what was begun; nothing happens where it was launched. */
export function abandon(begun: number): void {
  native().abandon(begun);
}

/** Of each filter, which all sandboxes with the same options share: its rules, and the limit that they hold. */
const encodedRules = new WeakMap<object, { readonly descriptors: number; readonly rules: Int32Array }>();

/** What the broker is to answer for each call that the filter hands it: NotifyRule of native/notify.h, one after another. */
function notifyRules({ steps, seccomp, rlimits }: LaunchPlan, architecture: Architecture): Int32Array {
  if (!steps.includes("seccomp")) return new Int32Array();
  const { notify } = seccomp;
  const limit = rlimits.find(({ resource }) => resource === "nofile")?.soft ?? 0;
  const descriptors = [...notify.values()].includes("descriptor") ? limit : 0;
  const known = encodedRules.get(notify);
  if (known?.descriptors === descriptors) return known.rules;
  const rules = Int32Array.from(
    [...notify].flatMap(([number, purpose]) => {
      const name = purpose === "open" ? syscallName(architecture, number) : "";
      const counted = purpose === "descriptor" || purpose === "open" ? descriptors : 0;
      const pathArgument = purpose === "open" && name !== "open" && name !== "creat" ? 1 : 0;
      return [number, answers[purpose], errors[purpose] ?? 0, counted, pathArgument];
    }),
  );
  encodedRules.set(notify, { descriptors, rules });
  return rules;
}

/** Answer of native/notify.h. */
const answers: Readonly<Record<NotificationPurpose, number>> = {
  refuse: 0,
  bind: 7,
  metadata: 6,
  connect: 1,
  open: 2,
  map: 3,
  wait: 4,
  descriptor: 5,
  code: 8,
  socket: 9,
  lookup: 10,
  linger: 11,
};

const errors: Readonly<Partial<Record<NotificationPurpose, number>>> = {
  refuse: eperm,
  bind: eacces,
  metadata: eperm,
  socket: eacces,
  lookup: eacces,
  linger: eperm,
  connect: enetunreach,
  map: eacces,
};

/**
 * Whose files say nothing of what they are. What the sandbox can write may be shown to it a second time where only reading
 * is granted: under its path on the host, where it stands at another one inside, or where the host has mounted it as well.
 */
function ownFiles({ folders, identity, seccomp }: LaunchPlan): BrokerOwnFiles {
  const { writable, readOnly, sources } = folders;
  const { hostUid: uid, hostGid: gid } = identity;
  // Only where rules name programs are they told apart.
  if (![...seccomp.notify.values()].some((purpose) => purpose === "code" || purpose === "map"))
    return { writable, readOnly, uid, gid };
  const mounts = ownMountinfo();
  const shown = sources.filter((path) => !writable.includes(path));
  const again = [...shown, ...sources.flatMap((path) => otherNames(mounts, path))];
  return {
    writable: [...writable, ...again],
    readOnly: readOnly.filter((path) => !again.some((name) => isWithin(path, name))),
    uid,
    gid,
  };
}

/**
 * Raises the walls of a plan and waits for their proof.
 *
 * @throws NativeFailure, whatever did not stand: nothing ran, nothing is left
 */
export async function launch(
  plan: LaunchPlan,
  architecture: Architecture,
  begun: number,
  cgroup: SandboxCgroup | null = null,
): Promise<LiveInit> {
  const shared = plan.mounts.find((step) => step.op === "shared");
  const folder = shared === undefined ? null : takeHanded(shared.key);
  if (folder === null) return raise(plan, architecture, begun, cgroup, shared, null);
  try {
    return await raise(plan, architecture, begun, cgroup, shared, folder);
  } catch (error) {
    const { step, wall } = error as Partial<NativeFailure>;
    if (step !== "setup" || wall !== opCodes.shared) throw error;
    stopHanding();
    return raise(plan, architecture, 0, cgroup, shared, null);
  }
}

async function raise(
  plan: LaunchPlan,
  architecture: Architecture,
  begun: number,
  cgroup: SandboxCgroup | null,
  shared: SharedStep | undefined,
  folder: HandedFolder | null,
): Promise<LiveInit> {
  const since = folder?.since ?? performance.now();
  const { uid, gid, hostUid, hostGid, drop } = plan.identity;
  const mapped = plan.namespaces.includes("user");
  const launched = await native().launch({
    begun,
    cloneFlags: plan.namespaces.reduce((flags, name) => flags | namespaceFlags[name], 0),
    uidMap: mapped ? `${uid} ${hostUid} 1\n` : "",
    gidMap: mapped ? `${gid} ${hostGid} 1\n` : "",
    denySetgroups: !drop,
    program: encodePlan(plan, folder !== null),
    idMapped: plan.idMapped,
    handed: folder?.fd ?? -1,
    cgroupProcs: cgroup?.procs ?? [],
    cgroupEvents: cgroup?.events ?? noCgroupEvents,
    initFile: initFile(),
  });
  const channel = new Channel(launched);
  try {
    const rules = notifyRules(plan, architecture);
    const territory =
      plan.territory === undefined
        ? null
        : { ...plan.territory, uid: hostUid, gid: hostGid, hasEgress: plan.egress !== null };
    const ready = await channel.whenReady(timeoutMs, () =>
      native().ready(launched.control, launched.pid, rules, territory, ownFiles(plan)),
    );
    if (shared !== undefined) keepHanded(shared.key, { fd: ready.handed, since });
    const resolver = { datagrams: ready.resolverDatagrams, streams: ready.resolverStreams };
    return { ...launched, channel, broker: ready.broker, resolver };
  } catch (error) {
    // Nothing runs in it, so it need not hear of its end (native/addon.cc, End).
    native().kill(launched.pidfd);
    native().kill(launched.pidfd);
    await native().waitExit(launched.pidfd);
    native().close(launched.pidfd);
    channel.close();
    throw error ?? tookTooLong();
  }
}

function tookTooLong(): Error & NativeFailure {
  const failure = { step: "clone", syscall: "init", path: "", errno: constants.errno.ETIMEDOUT, wall: 0 };
  return Object.assign(new Error("clone: the init did not answer"), failure);
}
