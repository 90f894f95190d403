import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";

/** Addresses that look public: no rule has to be loosened to reach them. */
export const addresses = { api: "93.184.216.34", other: "93.184.216.35" } as const;

const hosts = `127.0.0.1 localhost
${addresses.api} api.example.test
${addresses.other} other.example.test proxy.example.test
${addresses.api} mixed.example.test
127.0.0.1 mixed.example.test
169.254.169.254 metadata.example.test
127.0.0.1 loopback.example.test
${addresses.api} host.docker.internal hosts.example.test good.example.test
${addresses.other} deaf.example.test
`;

/** Waits until all of them listen. @returns what closes them */
export async function listening(servers: readonly Server[]): Promise<() => void> {
  await Promise.all(servers.map((server) => (server.listening ? null : once(server, "listening"))));
  return () => {
    for (const server of servers) server.close();
  };
}

/** Why no network of its own can be made here for a test; null where one can. */
export function missingForWorld(): string | null {
  for (const program of ["unshare", "ip", "setpriv"]) {
    if (spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined) return `there is no ${program}`;
  }
  return null;
}

interface WorldOptions {
  readonly args?: readonly string[];
  readonly timeoutMs?: number;
  /** How many process ids there are, where a pid namespace can have a number of its own: then they are soon used again. */
  readonly mostPids?: number;
  /** Commands with the rights of its root. */
  readonly setUp?: readonly string[];
}

/** Linux 6.14; before it the number was the host's (sysctl/kernel.rst, pid_max). */
function pidsAreCounted(): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > 6 || (major === 6 && minor >= 14);
}

/**
 * Runs a script of this folder in a network namespace of its own, where the addresses above are local and /etc/hosts names
 * them; what it writes to standard output is its result.
 */
export function inWorld(
  script: string,
  { args: own = [], timeoutMs = 120_000, mostPids, setUp: more = [] }: WorldOptions = {},
): unknown {
  const hasPids = mostPids !== undefined && pidsAreCounted();
  const folder = mkdtempSync(join(tmpdir(), "holdfast-world-"));
  try {
    const file = join(folder, "hosts");
    writeFileSync(file, hosts);
    const setUp = [
      "ip link set lo up",
      ...Object.values(addresses).map((address) => `ip addr add ${address}/32 dev lo`),
      "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start",
      `mount --bind ${file} /etc/hosts`,
      // Control sockets of its own: what is said to all sandboxes of this user is said to those of the script.
      "mount -t tmpfs none /dev/shm",
      "if [ -d /run/user ]; then mount -t tmpfs none /run/user; fi",
      ...more,
      ...(hasPids ? [`echo ${mostPids} > /proc/sys/kernel/pid_max`] : []),
    ].join(" && ");
    const isRoot = process.getuid?.() === 0;
    const drop = isRoot ? "exec" : "exec setpriv --ambient-caps=-all --inh-caps=-all";
    const command = `${setUp} && ${drop} "$@"`;
    const spaces = isRoot ? ["-n", "-m"] : ["-U", "--map-current-user", "--keep-caps", "-n", "-m"];
    if (hasPids) spaces.push("-p", "-f", "--kill-child", "--mount-proc");
    const args = [...spaces, "sh", "-c", command, "sh", process.execPath, join(import.meta.dirname, script), ...own];
    const ran = spawnSync("unshare", args, { encoding: "utf8", timeout: timeoutMs, maxBuffer: 1 << 26 });
    if (ran.status !== 0) throw new Error(`${script} ended with ${ran.status ?? ran.signal}: ${ran.stderr}`);
    return JSON.parse(ran.stdout);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
