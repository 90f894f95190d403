import { constants } from "node:os";
import { namespaceFlags } from "../host/namespaces.ts";
import { initFile, type Launched, type NativeFailure, type NotifyRule, native, noCgroupEvents } from "../native.ts";
import { encodePlan } from "../plan/encode.ts";
import type { LaunchPlan } from "../plan/launch-plan.ts";
import { type Architecture, type NotificationPurpose, syscallName } from "../plan/seccomp-profile.ts";
import type { SandboxCgroup } from "./cgroup.ts";
import { Channel } from "./channel.ts";

/** What every plan has, unless a test takes one away. */
const allNamespaces = Object.values(namespaceFlags).reduce((flags, flag) => flags | flag, 0);

const timeoutMs = 10_000;
const enetunreach = 101;
const eperm = 1;
const eacces = 13;

/** An init behind its walls, proved, with nothing started yet. */
export interface LiveInit extends Launched {
  readonly channel: Channel;
  /** Of the broker that answers for it; 0 where its filter hands nothing out. */
  readonly broker: number;
}

/**
 * Starts an init, on the addon's thread, while the plan is made that tells it what to raise: cloning it takes longer than
 * the plan. What this returns goes to `launch` or to `abandon`.
 */
export function begin(): number {
  return native().begin(allNamespaces, initFile());
}

/** Ends what was begun; nothing happens where it was launched. */
export function abandon(begun: number): void {
  native().abandon(begun);
}

/** What the broker is to answer for each call that the filter hands it. */
function notifyRules(plan: LaunchPlan, architecture: Architecture): NotifyRule[] {
  if (!plan.steps.includes("seccomp")) return [];
  const purposes = [...plan.seccomp.notify];
  const limit = plan.rlimits.find(({ resource }) => resource === "nofile")?.soft ?? 0;
  const descriptors = purposes.some(([, purpose]) => purpose === "descriptor") ? limit : 0;
  return purposes.map(([number, purpose]): NotifyRule => {
    const rule = { number, answer: answers[purpose], error: errors[purpose] ?? 0, descriptors: 0, pathArgument: 0 };
    if (purpose === "descriptor") return { ...rule, descriptors };
    if (purpose !== "open") return rule;
    const name = syscallName(architecture, number);
    return { ...rule, descriptors, pathArgument: name === "open" || name === "creat" ? 0 : 1 };
  });
}

/** Answer of native/notify.h; what only another mode asks is refused here. */
const answers: Readonly<Record<NotificationPurpose, NotifyRule["answer"]>> = {
  refuse: 0,
  bind: 0,
  metadata: 0,
  connect: 1,
  open: 2,
  map: 3,
  wait: 4,
  descriptor: 5,
};

const errors: Readonly<Partial<Record<NotificationPurpose, number>>> = {
  refuse: eperm,
  bind: eperm,
  metadata: eperm,
  connect: enetunreach,
  map: eacces,
};

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
  const { uid, gid, hostUid, hostGid, drop } = plan.identity;
  const mapped = plan.namespaces.includes("user");
  const launched = await native().launch({
    begun,
    cloneFlags: plan.namespaces.reduce((flags, name) => flags | namespaceFlags[name], 0),
    uidMap: mapped ? `${uid} ${hostUid} 1\n` : "",
    gidMap: mapped ? `${gid} ${hostGid} 1\n` : "",
    denySetgroups: !drop,
    program: encodePlan(plan),
    idMapped: plan.idMapped,
    cgroupProcs: cgroup?.procs ?? [],
    cgroupEvents: cgroup?.events ?? noCgroupEvents,
    initFile: initFile(),
  });
  const channel = new Channel(launched);
  try {
    const rules = notifyRules(plan, architecture);
    const broker = await channel.whenReady(timeoutMs, () => native().ready(launched.control, launched.pid, rules));
    return { ...launched, channel, broker };
  } catch (error) {
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
