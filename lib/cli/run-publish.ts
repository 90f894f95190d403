import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Told } from "./run.ts";
import { usageError } from "./usage.ts";

export interface Published {
  readonly target: number;
  readonly hostPort: number;
}

/**
 * `[HOSTPORT:]PORT`.
 *
 * @param others what is published already
 */
export function publishedPort(word: string, others: readonly Published[]): Published {
  const [, host, inside = ""] = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(word) ?? [];
  const target = Number(inside);
  const hostPort = Number(host ?? inside);
  if (inside === "" || target < 1 || target > 65_535 || hostPort > 65_535) {
    throw usageError(
      `--publish ${word}: not PORT or HOSTPORT:PORT`,
      "For example --publish 3000, --publish 8080:3000, or --publish 0:3000 for any free port.",
    );
  }
  if (hostPort !== 0 && others.some((other) => other.hostPort === hostPort)) {
    throw usageError(
      `--publish ${word}: port ${hostPort} of this host is published already`,
      `Give each its own, for example --publish 0:${target} for any that is free.`,
    );
  }
  return { target, hostPort };
}

/** Opens what `--publish` asks for, and says where it is. */
export async function publish(
  sandbox: Sandbox,
  ports: readonly Published[],
  { status, tell }: Pick<Told, "status" | "tell">,
): Promise<void> {
  for (const { target, hostPort } of ports) {
    const { host, port } = await sandbox.forward(target, { hostPort });
    const published = { event: "published", host, port, target };
    status(published);
    tell(published, `${host}:${port} leads to port ${target} inside`);
  }
}
