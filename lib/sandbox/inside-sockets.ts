import { constants } from "node:os";
import { native } from "../native.ts";
import type { Channel } from "./channel.ts";
import { errnoName } from "./process.ts";
import { addressFamilies, socketRequest } from "./requests.ts";

const { EALREADY, EINPROGRESS, ETIMEDOUT } = constants.errno;
/** The most that a listener whose queue is full is waited for, and the longest pause until it is looked at again. */
const connectMs = 10_000;
const pauseMs = 50;

/**
 * Connections to a sandbox's own loopback. Its init makes each socket, since a socket belongs to the network that it was
 * made in, and hands it out; it is connected here.
 */
export class InsideSockets {
  readonly #channel: () => Channel;
  readonly #broker: number;
  /** One request at a time: neither side then ever waits for the other to make room on the line. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param broker of a sandbox without a network of its own, which knows its servers; else 0 */
  constructor(channel: () => Channel, broker: number) {
    this.#channel = channel;
    this.#broker = broker;
  }

  /**
   * A connected socket; to ::1 where nobody listens on 127.0.0.1.
   *
   * @throws Error whose message says why there is none
   */
  async connect(port: number): Promise<number> {
    let refused = "";
    for (const family of [addressFamilies.ipv4, addressFamilies.ipv6]) {
      const fd = await this.#make(family);
      const errno = fd < 0 ? -fd : await this.#settled(fd, port);
      if (errno === 0) return fd;
      if (fd >= 0) native().close(fd);
      refused ||= errnoName(errno);
    }
    throw new Error(refused === "ECONNREFUSED" ? "nobody listens there" : `it cannot be connected to (${refused})`);
  }

  /** A TCP socket; or minus the errno. */
  #make(family: number): Promise<number> {
    const made = this.#last.then(() => ask(this.#channel(), family));
    this.#last = made.catch(() => {});
    return made;
  }

  /** Loopback answers at once, or as soon as the kernel comes to it; to connect again tells what came of it (connect(2)). */
  async #settled(fd: number, port: number): Promise<number> {
    const until = performance.now() + connectMs;
    const attempt = (): number => native().connectLoopback(fd, port, this.#broker);
    let errno = attempt();
    for (let ms = 1; errno === EINPROGRESS || errno === EALREADY; ms = Math.min(2 * ms, pauseMs)) {
      if (performance.now() > until) return ETIMEDOUT;
      await new Promise((resolve) => setTimeout(resolve, ms));
      errno = attempt();
    }
    return errno;
  }
}

function ask(channel: Channel, family: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const gone = (): Error => new Error("the sandbox has ended");
    const id = channel.add({
      onEvent: ({ value }) => {
        channel.remove(id);
        const made = channel.takePacket(id)?.fd ?? -1;
        if (value !== 0) resolve(-value);
        else if (made >= 0) resolve(made);
        else reject(gone());
      },
      onGone: () => reject(gone()),
    });
    try {
      native().request(channel.control, socketRequest(id, family), null);
    } catch (error) {
      channel.remove(id);
      reject(error);
    }
  });
}
