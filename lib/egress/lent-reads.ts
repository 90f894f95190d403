import type { OnReadOpts } from "node:net";

/** What a TLS record holds at most (RFC 8446 section 5.1): no read of a secured socket is longer. */
const longestRead = 16 * 1024;
const slabBytes = 64 * 1024;

interface Slab {
  readonly buffer: Buffer;
  /** Read into, from its beginning on. */
  used: number;
  /** Reads in it that are lent out. */
  lent: number;
}

/** Takes a read on loan: false where it is not wanted, else `giveBack` says when its bytes are not needed any more. */
export type Borrower = (read: Buffer, giveBack: () => void) => boolean;

/**
 * Memory that a socket is read into, again and again: with a buffer of its own for each read, a download's time is the
 * garbage collector's. A read that is lent out lies there until it is given back; what never comes back is the collector's.
 */
export class LentReads {
  readonly #slabs: Slab[] = [];
  #slab: Slab;
  /** Where the next read goes. */
  #place: Buffer;
  #borrower: Borrower = () => {
    this.hasDropped = true;
    return false;
  };
  /** Whether something was read before there was anybody to lend it to. */
  hasDropped = false;
  /** Of the socket that is to be read so, which emits no data (net.connect). */
  readonly onread: OnReadOpts = { buffer: () => this.#place, callback: (size) => this.#take(size) };

  constructor() {
    this.#slab = this.#make();
    this.#place = this.#slab.buffer;
  }

  /** Who is offered each read from now on; one that is not wanted is written over. */
  lendTo(borrower: Borrower): void {
    this.#borrower = borrower;
  }

  #take(size: number): boolean {
    const slab = this.#slab;
    slab.lent++;
    const isLent = this.#borrower(slab.buffer.subarray(slab.used, slab.used + size), () => slab.lent--);
    if (isLent) {
      slab.used += size;
      this.#turn();
    } else slab.lent--;
    return true;
  }

  /** Where nothing is lent any more there is room from the beginning on. */
  #turn(): void {
    let slab = this.#slab;
    if (slab.lent === 0) slab.used = 0;
    if (slab.buffer.length - slab.used < longestRead) {
      slab = this.#slabs.find(({ lent }) => lent === 0) ?? this.#make();
      slab.used = 0;
      this.#slab = slab;
    }
    this.#place = slab.buffer.subarray(slab.used);
  }

  #make(): Slab {
    const slab = { buffer: Buffer.allocUnsafeSlow(slabBytes), used: 0, lent: 0 };
    this.#slabs.push(slab);
    return slab;
  }
}
