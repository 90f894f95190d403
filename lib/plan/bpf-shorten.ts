import { type Instruction, JUMP, LOAD_ABSOLUTE, MAX_SHORT_JUMP, RETURN } from "./bpf-instruction.ts";

/** An instruction with what comes after it: equal ones with equal ends are one object. */
interface Node {
  readonly code: number;
  readonly k: number;
  /** Where a jump goes when its test holds; of another instruction the next one, of a return null. */
  readonly then: Node | null;
  /** Where a jump goes when its test does not hold. */
  readonly otherwise: Node | null;
}

/** The accumulator holds what was loaded from here, or is not known. */
type Loaded = number | undefined;

/**
 * The same program with every verdict and every end of a way through it there only once, as far as a jump reaches, and
 * without loads of what is loaded already. The kernel translates and tries the whole of it for each sandbox: a third
 * fewer instructions are a third less of the longest system call of a launch.
 */
export function shorten(program: readonly Instruction[]): Instruction[] {
  return new Layout().of(new Graph(program).root);
}

const isJump = (code: number): boolean => (code & 7) === JUMP;

/** Built from the front: what a node is depends on what the accumulator holds. */
class Graph {
  readonly root: Node;
  readonly #program: readonly Instruction[];
  readonly #known = new Map<string, Node>();
  readonly #numbers = new Map<Node, number>();
  readonly #built = new Map<string, Node>();

  constructor(program: readonly Instruction[]) {
    this.#program = program;
    this.root = this.#at(0, undefined);
  }

  #at(index: number, loaded: Loaded): Node {
    const key = `${index} ${loaded}`;
    const built = this.#built.get(key) ?? this.#build(index, loaded);
    this.#built.set(key, built);
    return built;
  }

  #build(index: number, loaded: Loaded): Node {
    const line = this.#program[index];
    if (line === undefined) throw new RangeError("a way through the filter ends without a verdict");
    const { code, k, jt, jf } = line;
    if (code === RETURN) return this.#one(code, k, null, null);
    if (code === JUMP) return this.#at(index + 1 + k, loaded);
    if (!isJump(code)) {
      if (code === LOAD_ABSOLUTE && loaded === k) return this.#at(index + 1, loaded);
      return this.#one(code, k, this.#at(index + 1, code === LOAD_ABSOLUTE ? k : undefined), null);
    }
    const then = this.#at(index + 1 + jt, loaded);
    const otherwise = this.#at(index + 1 + jf, loaded);
    return then === otherwise ? then : this.#one(code, k, then, otherwise);
  }

  #one(code: number, k: number, then: Node | null, otherwise: Node | null): Node {
    const numberOf = (node: Node | null): number => (node === null ? -1 : (this.#numbers.get(node) ?? -1));
    const key = `${code} ${k} ${numberOf(then)} ${numberOf(otherwise)}`;
    let node = this.#known.get(key);
    if (node === undefined) {
      node = { code, k, then, otherwise };
      this.#known.set(key, node);
      this.#numbers.set(node, this.#numbers.size);
    }
    return node;
  }
}

/** Laid out from the end: jumps only go forward, so what they go to is there before them. */
class Layout {
  /** The last instruction first. */
  readonly #lines: Instruction[] = [];
  readonly #places = new Map<Node, number>();

  of(root: Node): Instruction[] {
    this.#lead(root);
    return this.#lines.reverse();
  }

  /** How many instructions lie between the next one to be laid and this node. */
  #distance(node: Node): number {
    return this.#lines.length - 1 - (this.#places.get(node) ?? Number.NEGATIVE_INFINITY);
  }

  /** Makes the node, or a way to it, what comes next. */
  #lead(node: Node): void {
    if (!this.#places.has(node)) this.#lay(node);
    const distance = this.#distance(node);
    if (distance === 0) return;
    if (node.code === RETURN) {
      this.#lay(node);
      return;
    }
    this.#lines.push({ code: JUMP, jt: 0, jf: 0, k: distance });
    this.#places.set(node, this.#lines.length - 1);
  }

  #lay(node: Node): void {
    const { code, k, then, otherwise } = node;
    let [jt, jf] = [0, 0];
    if (then !== null && otherwise !== null) {
      if (!this.#places.has(then)) this.#lay(then);
      // What it falls through to costs the kernel one instruction less.
      if (this.#places.has(otherwise) && this.#distance(otherwise) >= MAX_SHORT_JUMP) this.#lead(otherwise);
      else if (!this.#places.has(otherwise)) this.#lay(otherwise);
      if (this.#distance(then) >= MAX_SHORT_JUMP) {
        this.#lead(then);
        jf = this.#distance(otherwise);
      } else {
        jt = this.#distance(then);
        jf = this.#distance(otherwise);
      }
    } else if (then !== null) {
      this.#lead(then);
    }
    this.#lines.push({ code, k, jt, jf });
    this.#places.set(node, this.#lines.length - 1);
  }
}
