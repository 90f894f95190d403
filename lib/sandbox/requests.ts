/** Messages of native/wire.h, MessageType. */
export const messageTypes = { exec: 10, signal: 11, fileOpen: 12, fileWrite: 13, socket: 18 } as const;

export const searchPath = 8;
export const killTreeOnExit = 16;
export const quiet = 32;

export interface ExecRequest {
  readonly id: number;
  readonly layer: number;
  readonly file: string;
  readonly cwd: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly rows?: number;
  readonly columns?: number;
  readonly killTreeOnExit?: boolean;
  /** Its start is not reported: saves a record and a wake-up where only the end is waited for. */
  readonly quiet?: boolean;
  readonly umask?: number;
  /** struct termios2 for the pseudo terminal. */
  readonly terminal?: Uint8Array | undefined;
}

const execHeader = 84;
const terminalAt = 40;

/** ExecMessage: the header, then file, cwd, search path, argv and environment, each NUL-terminated. */
export function execRequest(request: ExecRequest): Buffer {
  const { args, env } = request;
  const text = `${request.file}\0${request.cwd}\0${request.path}\0${args.length > 0 ? `${args.join("\0")}\0` : ""}${
    env.length > 0 ? `${env.join("\0")}\0` : ""
  }`;
  const size = Buffer.byteLength(text);
  const out = Buffer.allocUnsafe(execHeader + size);
  out.writeUInt32LE(messageTypes.exec, 0);
  out.writeUInt32LE(request.id, 4);
  out.writeUInt32LE(searchPath | (request.killTreeOnExit ? killTreeOnExit : 0) | (request.quiet ? quiet : 0), 8);
  out.writeUInt32LE(request.layer, 12);
  out.writeUInt32LE(args.length, 16);
  out.writeUInt32LE(env.length, 20);
  out.writeUInt32LE(0, 24);
  out.writeUInt16LE(request.rows ?? 24, 28);
  out.writeUInt16LE(request.columns ?? 80, 30);
  out.writeUInt32LE(0, 32);
  out.writeUInt32LE(request.umask ?? 0o022, 36);
  out.fill(0, terminalAt, execHeader);
  if (request.terminal !== undefined) out.set(request.terminal.subarray(0, execHeader - terminalAt), terminalAt);
  out.write(text, execHeader);
  return out;
}

/** SignalMessage: a signal to the call's process group, or SIGKILL to all that descends from it. */
export function signalRequest(id: number, signal: number, wholeTree: boolean): Buffer {
  const out = Buffer.allocUnsafe(16);
  out.writeUInt32LE(messageTypes.signal, 0);
  out.writeUInt32LE(id, 4);
  out.writeInt32LE(signal, 8);
  out.writeUInt32LE(wholeTree ? 1 : 0, 12);
  return out;
}

/** Address families of the kernel (socket.h), the same on every architecture. */
export const addressFamilies = { ipv4: 2, ipv6: 10 } as const;

/** SocketMessage: a TCP socket of the sandbox's own network. */
export function socketRequest(id: number, family: number): Buffer {
  const out = Buffer.allocUnsafe(12);
  out.writeUInt32LE(messageTypes.socket, 0);
  out.writeUInt32LE(id, 4);
  out.writeUInt32LE(family, 8);
  return out;
}

export interface FileRequest {
  readonly id: number;
  readonly layer: number;
  readonly write: boolean;
  readonly path: string;
  readonly roots: readonly string[];
  readonly readOnlyRoots: readonly string[];
  /** Permission bits of what is written; 0: as they were, or 0600. */
  readonly mode?: number;
  /** No link below a root is followed. */
  readonly noLinks?: boolean;
}

/** In FileMessage.flags, beside the permission bits. */
export const fileNoLinks = 0x10000;

/** FileMessage: the header, then the path, the roots and the read-only roots, each NUL-terminated. */
export function fileRequest(request: FileRequest): Buffer {
  const strings = [request.path, ...request.roots, ...request.readOnlyRoots];
  const text = Buffer.from(`${strings.join("\0")}\0`);
  const out = Buffer.alloc(24 + text.length);
  out.writeUInt32LE(request.write ? messageTypes.fileWrite : messageTypes.fileOpen, 0);
  out.writeUInt32LE(request.id, 4);
  out.writeUInt32LE(request.layer, 8);
  out.writeUInt32LE(request.roots.length, 12);
  out.writeUInt32LE(request.readOnlyRoots.length, 16);
  out.writeUInt32LE((request.mode ?? 0) | (request.noLinks === true ? fileNoLinks : 0), 20);
  text.copy(out, 24);
  return out;
}

/** FileStatus of native/wire.h, by number. */
export const fileStatuses = ["ok", "outside", "directory", "other", "resolve-error", "error", "read-only"] as const;

export interface FileReply {
  readonly id: number;
  readonly status: (typeof fileStatuses)[number];
  readonly errno: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly mode: number;
  readonly rootIndex: number;
  readonly path: string;
}

/** FileResultMessage. */
export function fileReply(data: Buffer): FileReply {
  const end = data.indexOf(0, 40);
  return {
    id: data.readUInt32LE(4),
    status: fileStatuses[data.readUInt32LE(8)] ?? "error",
    errno: data.readInt32LE(12),
    size: Number(data.readBigUInt64LE(16)),
    mtimeNs: data.readBigUInt64LE(24),
    mode: data.readUInt32LE(32),
    rootIndex: data.readUInt32LE(36),
    path: data.toString("utf8", 40, end < 0 ? data.length : end),
  };
}
