import { HoldfastError } from "../errors.ts";
import type { HostCapabilities, IdRange } from "../host/capabilities.ts";
import type { Policy } from "../policy/policy.ts";
import type { Identity } from "./launch-plan.ts";

/** What the literal `sandbox` stands for as an id inside (openshell.md 1.4). */
const sandboxId = 1000;

/**
 * Whom a sandbox runs as when root starts it, the policy names nobody and the workspace is root's: an id that Debian
 * and Fedora give to no user and systemd to no service (systemd.io/UIDS-GIDS).
 */
export const unprivilegedId = 65_533;

function includes(ranges: readonly IdRange[], id: number): boolean {
  return ranges.some(({ first, count }) => id >= first && id < first + count);
}

/** One level is all that can be seen: further up, a namespace that root made looks like one that a user made. */
function isHostRoot({ ids }: HostCapabilities): boolean {
  return [...ids.uid, ...ids.gid].some(({ first, outside }) => first === 0 && outside === 0);
}

/**
 * Inside, the sandbox is who the policy says, else the caller. On the host an ordinary user's sandbox is that user; one
 * started by root is the policy's uid, else the workspace's owner, else `unprivilegedId`: never the host's 0. A root that
 * has no such id to become is that of somebody's user namespace, and its sandbox is whoever that is on the host.
 */
export function identity(policy: Policy, host: HostCapabilities, owner: { uid: number; gid: number }): Identity {
  const named = (id: number | "sandbox" | undefined): number | undefined => (id === "sandbox" ? sandboxId : id);
  const user = named(policy.process.runAsUser);
  const group = named(policy.process.runAsGroup);
  if (host.uid !== 0) {
    return { uid: user ?? host.uid, gid: group ?? host.gid, hostUid: host.uid, hostGid: host.gid, drop: false };
  }
  const uid = user ?? (owner.uid !== 0 ? owner.uid : unprivilegedId);
  const gid = group ?? (owner.gid !== 0 ? owner.gid : unprivilegedId);
  if (!includes(host.ids.uid, uid) || !includes(host.ids.gid, gid)) {
    if (isHostRoot(host)) {
      throw new HoldfastError("in this user namespace there is nobody but the host's root for a sandbox to run as", {
        code: "ERR_HOLDFAST_WALL_UNAVAILABLE",
        step: "namespace",
        hint: `Map more ids into the namespace (unshare --map-auto, newuidmap(1)), at least up to ${Math.max(uid, gid)}; or start holdfast as an ordinary user.`,
      });
    }
    const own = { uid: user ?? unprivilegedId, gid: group ?? unprivilegedId };
    return { ...own, hostUid: host.uid, hostGid: host.gid, drop: false };
  }
  return { uid, gid, hostUid: uid, hostGid: gid, drop: true };
}

/** Lines for an idmapped mount that shows the owner's files as the sandbox's, and everybody else's as they are. */
export function mountMap(owner: number, target: number): string {
  const last = 4_294_967_294;
  const lines = [`${owner} ${target} 1`];
  // Identity for all others; the two that trade places are left out, so no file of the target's own is shown as root's.
  const edges = [owner, target].sort((a, b) => a - b);
  let from = 0;
  for (const edge of edges) {
    if (edge > from) lines.push(`${from} ${from} ${edge - from}`);
    from = Math.max(from, edge + 1);
  }
  if (from < last) lines.push(`${from} ${from} ${last - from}`);
  return `${lines.join("\n")}\n`;
}
