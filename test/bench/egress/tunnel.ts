// A tunnel as one writes it in Node, with nothing in it that decides: tunnel.ts PORT
import { createServer } from "node:http";
import { connect } from "node:net";

createServer()
  .on("connect", (request, client, head) => {
    const [host = "", port = ""] = (request.url ?? "").split(":");
    const upstream = connect({ host, port: Number(port), noDelay: true }, () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      upstream.write(head);
      client.pipe(upstream).pipe(client);
    });
    upstream.on("error", () => client.destroy());
    client.on("error", () => upstream.destroy());
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
