// Node takes tunnels and sends back what comes: node tunnel_server.mjs 1.1|2 PORT
import { createHash } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";

const [, , version, port] = process.argv;
let server;
if (version === "2") {
  server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("stream", (stream, headers) => {
    const taken = headers[":method"] === "CONNECT" && headers[":protocol"] === "websocket";
    stream.respond({ ":status": taken ? 200 : 404, "x-path": headers[":path"] });
    stream.pipe(stream);
  });
} else {
  server = http.createServer();
  server.on("upgrade", (request, socket, head) => {
    const key = request.headers["sec-websocket-key"];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    socket.write(`Sec-WebSocket-Accept: ${accept}\r\nX-Path: ${request.url}\r\n\r\n`);
    socket.write(head);
    socket.pipe(socket);
  });
}
server.listen(Number(port), "127.0.0.1");
