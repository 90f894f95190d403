import { isIP } from "node:net";

/** RFC 2544's range: no host on the internet has one, and no network that is worth its name routes them. */
const firstIpv4 = (198 << 24) | (18 << 16);
/** Addresses in 198.18.0.0/15, less the network's own. */
const poolSize = 2 ** 17 - 2;
/** A prefix of RFC 4193: "holdf" in ASCII. */
const ipv6Prefix = [0xfd68, 0x6f6c, 0x6466, 0];

export interface PoolAddresses {
  readonly ipv4: Uint8Array;
  readonly ipv6: Uint8Array;
}

/**
 * The names that a sandbox asked for, each with addresses of a private pool: a connection to one of them is a connection
 * to that name. An address is never given to a second name, so what a program remembers stays true.
 */
export class NamePool {
  readonly #indices = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #most: number;

  /** @param most names beyond this many get no address: a sandbox could ask for names without end */
  constructor(most = 16_384) {
    this.#most = Math.min(most, poolSize);
  }

  /** Its addresses, given out at the first question; undefined when the pool is used up. */
  addressesOf(name: string): PoolAddresses | undefined {
    let index = this.#indices.get(name);
    if (index === undefined) {
      if (this.#names.length >= this.#most) return undefined;
      index = this.#names.push(name);
      this.#indices.set(name, index);
    }
    return { ipv4: ipv4Of(index), ipv6: ipv6Of(index) };
  }

  /** The name that an address stands for; undefined when it is none of the pool's, or not given out yet. */
  nameOf(address: string): string | undefined {
    const index = indexOf(address);
    return index === undefined ? undefined : this.#names[index - 1];
  }
}

function ipv4Of(index: number): Uint8Array {
  const value = firstIpv4 + index;
  return Uint8Array.of((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

function ipv6Of(index: number): Uint8Array {
  const data = Buffer.alloc(16);
  for (const [place, word] of ipv6Prefix.entries()) data.writeUInt16BE(word, 2 * place);
  data.writeUInt32BE(index, 12);
  return data;
}

function indexOf(address: string): number | undefined {
  if (isIP(address) === 4) {
    const value = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
    const index = value - (firstIpv4 >>> 0);
    return index > 0 && index <= poolSize ? index : undefined;
  }
  const match = /^fd68:6f6c:6466::(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,4})$/i.exec(address);
  if (match === null) return undefined;
  return Number.parseInt(match[1] ?? "0", 16) * 65_536 + Number.parseInt(match[2] ?? "0", 16) || undefined;
}
