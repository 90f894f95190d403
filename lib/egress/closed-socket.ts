import type { Socket } from "node:net";

const ignore = (): void => {};

/**
 * Lets go of what listens to a socket, once it has closed. Each of Node's streams has a function among V8's old objects (a
 * function literal that is assigned to a property is made there), and what it leads to outlives every collection of young
 * objects: all that a connection was carried with is copied twice by the collector, and stays until it looks at everything.
 */
export function dropListenersOnClose(socket: Socket): void {
  socket.once("close", () => {
    socket.removeAllListeners();
    // An error that comes later still is nobody's.
    socket.on("error", ignore);
  });
}
