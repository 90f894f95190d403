import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Authority } from "./authority.ts";
import { dropListenersOnClose } from "./closed-socket.ts";
import { tlsFault } from "./server-tls.ts";
import { timeLimits } from "./time-limits.ts";

/** What lets a client through that does not trust this sandbox's authority. */
export const skip = "tls: skip";

/** Only a TCP socket can be reset. Apart, so that it leads to nothing but that: it is a closed connection's too. */
function resetThrough(client: Socket): (this: TLSSocket) => TLSSocket {
  return function (this: TLSSocket) {
    client.resetAndDestroy();
    return this.destroy();
  };
}

/**
 * Ends TLS towards a client, as the server of a name.
 *
 * @param ends the client, and who hears why it does not go on
 * @param protocols what it may choose from (ALPN); none where it is to be answered as by a server that knows of none
 * @param limitMs how long its handshake may take
 * @returns undefined where it has gone
 */
export function endTls(
  authority: Authority,
  { client, onFault }: { readonly client: Socket; readonly onFault: (detail: string, remedy?: string) => void },
  host: string,
  protocols: readonly string[],
  limitMs: number = timeLimits.headMs,
): Promise<TLSSocket | undefined> {
  return new Promise((resolve) => {
    const secured = new TLSSocket(client, {
      isServer: true,
      secureContext: authority.contextFor(host),
      ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
    });
    dropListenersOnClose(secured);
    secured.resetAndDestroy = resetThrough(client);
    const timer = setTimeout(() => client.resetAndDestroy(), limitMs);
    let isSecure = false;
    let isSaid = false;
    secured.on("error", (error: NodeJS.ErrnoException) => {
      if (isSecure) return;
      isSaid = true;
      const isDistrust = /UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN/.test(error.code ?? "");
      if (isDistrust) onFault("the client does not trust the certificate authority of this sandbox", skip);
      else onFault(`the TLS handshake failed: ${tlsFault(error)}`);
    });
    secured.once("end", () => {
      if (!isSecure) client.destroy();
    });
    secured.once("close", () => {
      clearTimeout(timer);
      if (!isSecure && !isSaid)
        onFault("the client left during the TLS handshake: it may pin another certificate", skip);
      resolve(undefined);
    });
    secured.once("secure", () => {
      clearTimeout(timer);
      isSecure = true;
      resolve(secured);
    });
  });
}
