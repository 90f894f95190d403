/** One struct sock_filter (linux/filter.h): jumps are relative to the next instruction and only go forward. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

// linux/bpf_common.h: class, size or operation, and mode, added up.
export const LOAD_ABSOLUTE = 0x20;
export const AND_CONSTANT = 0x54;
export const JUMP = 0x05;
export const JUMP_EQUAL = 0x15;
export const JUMP_GREATER_OR_EQUAL = 0x35;
export const JUMP_ANY_BIT = 0x45;
export const RETURN = 0x06;

export const MAX_SHORT_JUMP = 255;
