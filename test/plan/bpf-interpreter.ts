/** struct seccomp_data of linux/seccomp.h. */
export interface SeccompData {
  /** The call's number as an unsigned 32-bit value. */
  readonly number: number;
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly architecture: number;
  readonly instructionPointer?: bigint;
  /** Up to six arguments; missing ones are 0. Taken as unsigned 64 bits. */
  readonly arguments: readonly bigint[];
}

export interface Run {
  /** The value that the program returned: a SECCOMP_RET_* action and its data. */
  readonly verdict: number;
  /** Instructions executed, the return included. */
  readonly steps: number;
}

interface Line {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** A classic BPF program for seccomp, checked as the kernel checks it (kernel/seccomp.c, seccomp_check_filter). */
export class BpfProgram {
  readonly #lines: readonly Line[];

  /** @throws RangeError for a program that the kernel would refuse. */
  constructor(bytes: Uint8Array) {
    if (bytes.length % 8 !== 0) throw new RangeError("not a whole number of instructions");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#lines = Array.from({ length: bytes.length / 8 }, (_, index) => ({
      code: view.getUint16(index * 8, true),
      jt: view.getUint8(index * 8 + 2),
      jf: view.getUint8(index * 8 + 3),
      k: view.getUint32(index * 8 + 4, true),
    }));
    this.#check();
  }

  get length(): number {
    return this.#lines.length;
  }

  run(data: SeccompData): Run {
    const memory = new DataView(new ArrayBuffer(64));
    memory.setUint32(0, data.number, true);
    memory.setUint32(4, data.architecture, true);
    memory.setBigUint64(8, BigInt.asUintN(64, data.instructionPointer ?? 0n), true);
    data.arguments.forEach((value, index) => {
      memory.setBigUint64(16 + 8 * index, BigInt.asUintN(64, value), true);
    });
    let accumulator = 0;
    let next = 0;
    for (let steps = 1; ; steps++) {
      const line = this.#lines[next];
      if (line === undefined) throw new RangeError(`ran off the program at ${next}`);
      next += 1;
      switch (line.code) {
        case 0x20:
          accumulator = memory.getUint32(line.k, true);
          break;
        case 0x54:
          accumulator = (accumulator & line.k) >>> 0;
          break;
        case 0x05:
          next += line.k;
          break;
        case 0x15:
          next += accumulator === line.k ? line.jt : line.jf;
          break;
        case 0x35:
          next += accumulator >= line.k ? line.jt : line.jf;
          break;
        case 0x45:
          next += (accumulator & line.k) !== 0 ? line.jt : line.jf;
          break;
        case 0x06:
          return { verdict: line.k, steps };
        default:
          throw new RangeError(`instruction ${line.code} is not known`);
      }
    }
  }

  #check(): void {
    const { length } = this.#lines;
    if (length === 0 || length > 4096) throw new RangeError(`${length} instructions`);
    this.#lines.forEach((line, index) => {
      const left = length - index - 1;
      switch (line.code) {
        case 0x20:
          if (line.k % 4 !== 0 || line.k >= 64) throw new RangeError(`load from ${line.k} at ${index}`);
          break;
        case 0x54:
        case 0x06:
          break;
        case 0x05:
          if (line.k >= left) throw new RangeError(`jump past the end at ${index}`);
          break;
        case 0x15:
        case 0x35:
        case 0x45:
          if (line.jt >= left || line.jf >= left) throw new RangeError(`jump past the end at ${index}`);
          break;
        default:
          throw new RangeError(`instruction ${line.code} at ${index}`);
      }
    });
    if (this.#lines.at(-1)?.code !== 0x06) throw new RangeError("the last instruction does not return");
  }
}
