import { connect, createServer, type Server, type Socket } from "node:net";

/** An abstract name: it is gone with whoever has it. */
const name = "\0holdfast-attack-cases";

/** Does it while no other process of the tests does something in here: the one would see what the other changes outside. */
export async function alone<Result>(work: () => Promise<Result>): Promise<Result> {
  const held = await hold();
  try {
    return await work();
  } finally {
    held.release();
  }
}

async function hold(): Promise<{ readonly release: () => void }> {
  for (;;) {
    const server = createServer();
    const waiting = new Set<Socket>();
    server.on("connection", (socket) => {
      waiting.add(socket.on("error", () => {}));
    });
    if (await listens(server)) {
      const release = (): void => {
        server.close();
        for (const socket of waiting) socket.destroy();
      };
      return { release };
    }
    await new Promise<void>((resolve) => {
      connect(name)
        .on("error", () => {})
        .on("close", () => resolve());
    });
  }
}

function listens(server: Server): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(false) : reject(error),
    );
    server.listen(name, () => resolve(true));
  });
}
