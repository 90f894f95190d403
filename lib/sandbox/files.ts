import { HoldfastError } from "../errors.ts";
import { native } from "../native.ts";
import { layerIds } from "../plan/encode.ts";
import type { Channel } from "./channel.ts";
import { errnoName } from "./process.ts";
import { type FileReply, fileRequest } from "./requests.ts";
import type { OpenOutcome, PathRules, SandboxFiles, WriteOutcome, WriteRules } from "./types.ts";

/** File operations by the init, inside (native/init/files.cc). */
export class ConfinedFiles implements SandboxFiles {
  readonly #channel: () => Channel;

  constructor(channel: () => Channel) {
    this.#channel = channel;
  }

  async open(path: string, rules: PathRules): Promise<OpenOutcome> {
    if (path.includes("\0")) return { kind: "error", errno: "EINVAL", resolving: true };
    const { reply, fd } = await this.#ask(path, rules, false, null);
    if (reply.status === "ok" && fd >= 0) {
      return { kind: "file", fd, path: reply.path, size: reply.size, mode: reply.mode, mtimeNs: reply.mtimeNs };
    }
    if (fd >= 0) native().close(fd);
    if (reply.status === "directory" || reply.status === "other") return { kind: reply.status, path: reply.path };
    if (reply.status === "outside") return { kind: "outside" };
    return { kind: "error", errno: errnoName(reply.errno), resolving: reply.status === "resolve-error" };
  }

  async write(path: string, content: Uint8Array, rules: WriteRules): Promise<WriteOutcome> {
    if (path.includes("\0")) return { kind: "error", errno: "EINVAL", resolving: true };
    const { reply } = await this.#ask(path, rules, true, content);
    switch (reply.status) {
      case "ok":
        return { kind: "written", path: reply.path };
      case "outside":
        return { kind: "outside" };
      case "read-only":
        return { kind: "read-only", root: rules.readOnlyRoots?.[reply.rootIndex] ?? "" };
      case "directory":
      case "other":
        return { kind: reply.status, path: reply.path };
      default:
        return { kind: "error", errno: errnoName(reply.errno), resolving: reply.status === "resolve-error" };
    }
  }

  #ask(
    path: string,
    rules: WriteRules,
    write: boolean,
    content: Uint8Array | null,
  ): Promise<{ reply: FileReply; fd: number }> {
    const channel = this.#channel();
    return new Promise((resolve, reject) => {
      const gone = (): HoldfastError =>
        new HoldfastError("the sandbox ended during a file operation", {
          code: "ERR_HOLDFAST_SANDBOX_GONE",
          step: "tools",
          hint: "Create a new sandbox.",
        });
      const id = channel.add({
        onEvent: () => {
          channel.remove(id);
          const answer = channel.takeReply(id);
          if (answer === null) reject(gone());
          else resolve(answer);
        },
        onGone: () => reject(gone()),
      });
      try {
        const request = fileRequest({
          id,
          // Reading is behind the tools' own wall; writing behind what the policy grants.
          layer: write ? layerIds.base : layerIds.readOnly,
          write,
          path,
          roots: rules.roots,
          readOnlyRoots: rules.readOnlyRoots ?? [],
          ...(rules.mode === undefined ? {} : { mode: rules.mode & 0o777 }),
          noLinks: rules.followLinks === false,
        });
        native().request(channel.control, request, content);
      } catch (error) {
        channel.remove(id);
        reject(error);
      }
    });
  }
}
