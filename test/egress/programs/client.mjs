// What one of Node's clients is told by a server: client.mjs KIND PERMITTED REFUSED
import { get } from "node:https";

const [, , kind, ...urls] = process.argv;

const kinds = {
  async https(url) {
    const answer = await new Promise((resolve, reject) => get(url, resolve).on("error", reject));
    console.log(answer.statusCode, (await answer.toArray()).join(""));
  },
  async fetch(url) {
    const answer = await fetch(url);
    console.log(answer.status, await answer.text());
  },
  async undici(url) {
    const { Agent, request } = await import(process.env.UNDICI);
    const dispatcher = new Agent({ allowH2: true });
    const { statusCode, body } = await request(url, { dispatcher });
    console.log(statusCode, await body.text());
    await dispatcher.close();
  },
  WebSocket: (url) =>
    new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onopen = () => socket.send("hello");
      socket.onmessage = ({ data }) => {
        console.log(data);
        socket.close();
      };
      socket.onerror = ({ error, message }) => console.log("failed", error?.message ?? message);
      socket.onclose = resolve;
    }),
};
for (const url of urls) await kinds[kind](url);
