/** The step of a launch or of a session that failed. */
export type ErrorStep =
  | "usage"
  | "probe"
  | "policy"
  | "plan"
  | "clone"
  | "namespace"
  | "mount"
  | "landlock"
  | "seccomp"
  | "limits"
  | "verify"
  | "exec"
  | "workspace"
  | "tools"
  | "worker"
  | "queue"
  | "egress"
  | "audit";

export interface HoldfastErrorOptions {
  /** Stable, `ERR_HOLDFAST_*`; catalogued in docs/errors.md. */
  code: string;
  step: ErrorStep;
  /** One sentence that says what to do. */
  hint: string;
  /** The command's exit status; 125 unless said otherwise (building.md 3). */
  exitCode?: number;
  errno?: string;
  syscall?: string;
  path?: string;
  cause?: unknown;
}

const brand = Symbol.for("holdfast.error");

/**
 * Every failure of holdfast's own. A command that exits with a status other than 0 or is denied something is a result,
 * not an error.
 */
export class HoldfastError extends Error {
  /** Stable, `ERR_HOLDFAST_*`: docs/errors.md has them all. */
  readonly code: string;
  /** Where it happened. */
  readonly step: ErrorStep;
  /** One sentence that says what to do. */
  readonly hint: string;
  /** What the command exits with for it. */
  readonly exitCode: number;
  /** The name of the errno, where the kernel refused something. */
  readonly errno: string | undefined;
  /** What the kernel refused. */
  readonly syscall: string | undefined;
  /** On what. */
  readonly path: string | undefined;

  constructor(message: string, options: HoldfastErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "HoldfastError";
    this.code = options.code;
    this.step = options.step;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? 125;
    this.errno = options.errno;
    this.syscall = options.syscall;
    this.path = options.path;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Recognised by symbol, so that two copies of the package know each other's errors. */
  static is(value: unknown): value is HoldfastError {
    return typeof value === "object" && value !== null && brand in value;
  }
}
