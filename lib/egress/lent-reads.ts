import type { OnReadOpts } from "node:net";

/** What a TLS record holds at most (RFC 8446 section 5.1): no read of a secured socket is longer. */
const longestRead = 16 * 1024;
const slabBytes = 64 * 1024;
/** Where so many of those were filled, each in one turn, and none was still lent then: server and client are fast. */
const bulkSlabBytes = 256 * 1024;
const fillsBeforeBulk = 16;

interface Slab {
  readonly buffer: Buffer;
  /** Read into, from its beginning on. */
  used: number;
  /** Reads in it that are lent out. */
  lent: number;
}

/** A read of this size is one of many. */
const longRead = 8 * 1024;

/** Takes what was read on loan: false where it is not wanted, else `giveBack` says when its bytes are not needed any more. */
export type Borrower = (read: Buffer, giveBack: () => void) => boolean;

/**
 * Memory that a socket is read into, again and again: with a buffer of its own for each read, a download's time is the
 * garbage collector's. A read that is lent out lies there until it is given back; what never comes back is the collector's.
 * Long reads that follow each other are lent as one: what is done for each, up to its system call, is then done once.
 */
export class LentReads {
  readonly #slabs: Slab[] = [];
  #slabBytes = slabBytes;
  #fills = 0;
  #slab: Slab;
  /** Where in it what was not offered yet begins. */
  #from = 0;
  /** Where the next read goes. */
  #place: Buffer;
  #borrower: Borrower = () => {
    this.hasDropped = true;
    return false;
  };
  #mayWait = (): boolean => false;
  #later: NodeJS.Immediate | undefined;
  /** Whether something was read before there was anybody to lend it to. */
  hasDropped = false;
  /** Of the socket that is to be read so, which emits no data (net.connect). */
  readonly onread: OnReadOpts = { buffer: () => this.#place, callback: (size) => this.#take(size) };

  constructor() {
    this.#slab = this.#make();
    this.#place = this.#slab.buffer;
  }

  /**
   * Who is offered what is read from now on; what is not wanted is written over.
   *
   * @param mayWait whether a long read may wait for the next: not where it is to be known at once that it came
   */
  lendTo(borrower: Borrower, mayWait: () => boolean): void {
    this.#borrower = borrower;
    this.#mayWait = mayWait;
  }

  /**
   * Offers what was read and waits for more. Its end and errors are heard before the loop would come to it. The next read goes
   * where it was to go: Node asks for its place when a read is done, and not again.
   *
   * @returns whether it is lent; undefined where nothing waits
   */
  flush(): boolean | undefined {
    clearImmediate(this.#later);
    this.#later = undefined;
    const slab = this.#slab;
    const from = this.#from;
    if (slab.used === from) return undefined;
    this.#from = slab.used;
    slab.lent++;
    const isLent = this.#borrower(slab.buffer.subarray(from, slab.used), () => slab.lent--);
    if (!isLent) slab.lent--;
    return isLent;
  }

  #take(size: number): boolean {
    const slab = this.#slab;
    const from = this.#from;
    slab.used += size;
    if (size >= longRead && this.#mayWait()) {
      if (slab.buffer.length - slab.used >= longestRead) {
        this.#place = slab.buffer.subarray(slab.used);
        this.#later ??= setImmediate(() => this.flush());
        return true;
      }
      this.#onFull(slab);
    }
    // What is not wanted is written over.
    if (this.flush() === false) slab.used = from;
    this.#turn();
    return true;
  }

  #onFull(slab: Slab): void {
    if (this.#slabBytes === bulkSlabBytes) return;
    this.#fills = this.#slabs.some((each) => each !== slab && each.lent > 0) ? 0 : this.#fills + 1;
    if (this.#fills < fillsBeforeBulk) return;
    this.#slabBytes = bulkSlabBytes;
    // What is lent of them is the collector's once it is given back.
    this.#slabs.length = 0;
  }

  /** Where nothing is lent any more there is room from the beginning on. */
  #turn(): void {
    let slab = this.#slab;
    if (slab.lent === 0) slab.used = 0;
    if (slab.buffer.length < this.#slabBytes || slab.buffer.length - slab.used < longestRead) {
      slab = this.#slabs.find(({ lent }) => lent === 0) ?? this.#make();
      slab.used = 0;
      this.#slab = slab;
    }
    this.#from = slab.used;
    this.#place = slab.buffer.subarray(slab.used);
  }

  #make(): Slab {
    const slab = { buffer: Buffer.allocUnsafeSlow(this.#slabBytes), used: 0, lent: 0 };
    this.#slabs.push(slab);
    return slab;
  }
}
