import { readdirSync, readFileSync, rmdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { getSystemErrorName } from "node:util";
import { HoldfastError } from "../errors.ts";
import { native } from "../native.ts";
import { socketsTakeDescriptors } from "./descriptors.ts";
import { runtimeRoot } from "./private-root.ts";
import { forgetLeftover, registerLeftover } from "./reaper.ts";

/**
 * What a request on the socket may ask; each takes a JSON line and answers one: `{"op":"info"}`. Who calls
 * `gone` is told by its signal when whoever asked is not there any more.
 */
export type ControlHandler = (
  request: Readonly<Record<string, unknown>>,
  gone: () => AbortSignal,
) => Promise<object> | object;

const longestRequest = 1024 * 1024;
/** sun_path of unix(7), less the NUL. */
const longestPath = 107;
/**
 * Connections wait in the socket's backlog until Node's server takes it over: making one loads more of Node than a short
 * run does otherwise, and most sandboxes are gone before anybody asks.
 */
const attachAfterMs = 50;

/**
 * A sandbox's control socket: JSON lines over a Unix stream socket, mode 0600 in a folder of mode 0700, and the peer's
 * uid is checked (SO_PEERCRED) besides. Any language can speak it.
 */
export class ControlSocket {
  readonly path: string;
  readonly #handlers: Readonly<Record<string, ControlHandler>>;
  /** Listens; the server's once there is one. */
  #fd: number;
  #server: Server | undefined;
  #attaching: NodeJS.Timeout | undefined;
  /** With all that was asked on each, answered in order. */
  #connections = new Map<Socket, Promise<void>>();

  private constructor(path: string, fd: number, handlers: Readonly<Record<string, ControlHandler>>) {
    this.path = path;
    this.#fd = fd;
    this.#handlers = handlers;
    if (socketsTakeDescriptors) this.#attaching = setTimeout(() => this.#attach(), attachAfterMs).unref();
  }

  /** @throws HoldfastError ERR_HOLDFAST_CONTROL_SOCKET when the name is taken by a live sandbox or cannot be made */
  static async listen(name: string, handlers: Readonly<Record<string, ControlHandler>>): Promise<ControlSocket> {
    const path = join(runtimeRoot(), `${name}.sock`);
    if (Buffer.byteLength(path) > longestPath) throw socketError(path, "its path is longer than a socket's may be");
    await claimFolder(dirname(path));
    await registerLeftover("file", path);
    try {
      const fd = await bind(path);
      // Who asks cannot be told there (SO_PEERCRED needs the descriptor): nobody is answered.
      if (!socketsTakeDescriptors) native().close(fd);
      return new ControlSocket(path, socketsTakeDescriptors ? fd : -1, handlers);
    } catch (error) {
      await forgetLeftover("file", path);
      throw error;
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#attaching);
    if (this.#server !== undefined) this.#server.close();
    else if (this.#fd >= 0) native().close(this.#fd);
    // Whoever asked for this is still to be told that it is done.
    for (const [socket, answered] of this.#connections) void answered.then(() => socket.end(() => socket.destroy()));
    remove(this.path);
    await forgetLeftover("file", this.path);
  }

  #attach(): void {
    // A client may close its side when it has asked.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#server.listen({ fd: this.#fd });
    this.#server.unref();
  }

  #serve(socket: Socket): void {
    if (!isOurs(socket)) {
      socket.destroy();
      return;
    }
    this.#connections.set(socket, Promise.resolve());
    socket.unref();
    let text = "";
    const gone = new AbortController();
    let isWatched = false;
    let hasEnded = false;
    // Who has only closed its side reads a space before the answer, which JSON passes over; for who is gone it is EPIPE.
    const probe = (): void => void (hasEnded && isWatched && socket.write(" "));
    const watch = (): AbortSignal => {
      isWatched = true;
      probe();
      return gone.signal;
    };
    const then = (act: () => Promise<void> | void): void => {
      this.#connections.set(socket, (this.#connections.get(socket) ?? Promise.resolve()).then(act));
    };
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#connections.delete(socket);
      gone.abort();
    });
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > longestRequest) socket.destroy();
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        then(async () => {
          const reply = await answer(line, this.#handlers, watch);
          isWatched = false;
          if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`);
        });
      }
    });
    socket.on("end", () => {
      hasEnded = true;
      probe();
      then(() => void socket.end());
    });
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else's sweep was first.
  }
}

const mostTries = 16;

/** A launcher that ends at the same time may take the empty folder away between its making and the socket's. */
async function bind(path: string): Promise<number> {
  const { EADDRINUSE, ENOENT } = constants.errno;
  for (let tries = 1; ; tries++) {
    const fd = native().listenUnix(path);
    if (fd >= 0) return fd;
    if (fd === -ENOENT && tries < mostTries) {
      runtimeRoot();
      continue;
    }
    if (fd === -EADDRINUSE && tries < mostTries && (await removeDead(path))) continue;
    throw socketError(path, fd === -EADDRINUSE ? "a sandbox of this name lives already" : getSystemErrorName(fd));
  }
}

const claimed = new Set<string>();

/** The folder goes with this process, not with each sandbox: making and removing it costs more than the socket. */
async function claimFolder(folder: string): Promise<void> {
  if (claimed.has(folder)) return;
  claimed.add(folder);
  process.once("exit", () => {
    try {
      rmdirSync(folder);
    } catch {
      // Others live in it.
    }
  });
  await registerLeftover("folder", folder);
}

async function answer(
  line: string,
  handlers: Readonly<Record<string, ControlHandler>>,
  gone: () => AbortSignal,
): Promise<object> {
  try {
    const request: unknown = JSON.parse(line);
    const op = typeof request === "object" && request !== null && "op" in request ? request.op : undefined;
    const handler = typeof op === "string" && Object.hasOwn(handlers, op) ? handlers[op] : undefined;
    if (handler === undefined) return { ok: false, error: `unknown op; known: ${Object.keys(handlers).join(", ")}` };
    return { ok: true, ...(await handler(request as Record<string, unknown>, gone)) };
  } catch (error) {
    const { code, step, hint } = HoldfastError.is(error) ? error : {};
    return { ok: false, error: error instanceof Error ? error.message : String(error), code, step, hint };
  }
}

/** Only this user, or root. Where the peer cannot be told, nobody. */
function isOurs(socket: Socket): boolean {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  const peer = typeof fd === "number" ? native().peerCredentials(fd) : null;
  return peer !== null && (peer.uid === process.geteuid?.() || peer.uid === 0);
}

function socketError(path: string, why: string): HoldfastError {
  return new HoldfastError(`the control socket ${path} cannot be made: ${why}`, {
    code: "ERR_HOLDFAST_CONTROL_SOCKET",
    step: "clone",
    path,
    hint: "Choose another name for the sandbox, or set XDG_RUNTIME_DIR to a folder of this user's with a short path.",
  });
}

/** Removes sockets that nobody serves any more: their launchers and reapers were both killed. */
export function sweepSockets(): void {
  const root = runtimeRoot();
  for (const name of readdirSync(root)) if (name.endsWith(".sock")) void removeDead(join(root, name));
}

/** Removes a socket that nobody serves, and says whether it was one. */
function removeDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => {
      const isDead = error.code === "ECONNREFUSED" && !isBound(path);
      if (isDead) remove(path);
      resolve(isDead);
    });
  });
}

/** Whether a process has a socket of this name: it may be about to listen. proc_pid_net(5): the name ends its line. */
function isBound(path: string): boolean {
  try {
    return readFileSync("/proc/self/net/unix", "utf8").includes(` ${path}\n`);
  } catch {
    return true; // cannot be told: a socket too many is better than one taken away that somebody serves
  }
}
