/** A regular file or a folder of an archive. Links, devices, fifos and the like are not given. */
export interface ArchiveMember {
  /** As it is stored, decoded as UTF-8. */
  readonly name: string;
  readonly isFolder: boolean;
  readonly executable: boolean;
  readonly data: Uint8Array;
}

/** What an archive may hold at most. */
export interface ArchiveLimits {
  readonly members: number;
  /** Of all files together, unpacked. */
  readonly bytes: number;
  /** Of all names together. */
  readonly nameBytes: number;
}

export const defaultLimits: ArchiveLimits = Object.freeze({
  members: 10_000,
  bytes: 64 * 1024 * 1024,
  nameBytes: 1024 * 1024,
});

/** Why an archive was refused; for a log, without anything of its content but a name. */
export class ArchiveError extends Error {}

/** Counts what an archive holds, and refuses it when that is too much. */
export class ArchiveBudget {
  readonly #limits: ArchiveLimits;
  #members = 0;
  #bytes = 0;
  #nameBytes = 0;

  constructor(limits: ArchiveLimits) {
    this.#limits = limits;
  }

  get bytesLeft(): number {
    return this.#limits.bytes - this.#bytes;
  }

  countMember(nameBytes: number): void {
    this.#members += 1;
    this.#nameBytes += nameBytes;
    if (this.#members > this.#limits.members)
      throw new ArchiveError(`it has more than ${this.#limits.members} members`);
    if (this.#nameBytes > this.#limits.nameBytes) throw new ArchiveError("its listing is too long");
  }

  countBytes(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#limits.bytes) throw new ArchiveError(`it unpacks to more than ${this.#limits.bytes} bytes`);
  }
}

/** A member's name, which must be text. */
export function decodeName(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ArchiveError("a member's name is not UTF-8");
  }
}
