// What another policy and the kill switch make of streams that are under way, in both modes.
import { testsOf } from "./world-tests.ts";

const plain = ["http events", "http download", "https events", "https download", "h2 events", "h2 download"];
const tunnels = ["CONNECT, tcp", "CONNECT, https", "absolute form", "SOCKS, tcp"];
const all = [...plain, "ws", "wss", "tcp", "tls: skip", ...tunnels].sort();
const remaining = ["http download", "https download", "h2 download", "ws", "tcp", "CONNECT, tcp", "SOCKS, tcp"].sort();
const broken = (names: readonly string[]): string[] => names.map((name) => `${name}: error`);

for (const mode of ["namespaces", "landlock"]) {
  const { holds } = testsOf("live.ts", undefined, mode);

  holds("A policy that permits the same touches nothing", {
    "the same again": { said: [], "goes on": all, denials: 0 },
  });

  holds("A policy that permits it by other entries too, and more besides, touches nothing either", {
    "all and more": { said: [], "goes on": all, denials: 0 },
  });

  holds("What another policy refuses is broken off and recorded, in whatever protocol; the rest goes on", {
    "a part": {
      said: broken(all.filter((name) => !remaining.includes(name))),
      "goes on": remaining,
      // Each of a destination or of a request to one.
      denials: 5,
    },
  });

  holds("A policy that permits none of it, and the kill switch, break all of it off", {
    nothing: { said: broken(all), "goes on": [], denials: 5 },
    "the kill switch": { said: broken(all), "goes on": [] },
  });
}
