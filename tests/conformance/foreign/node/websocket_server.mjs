// The package ws sends back every message, with compression: node websocket_server.mjs PORT
import { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => offered.has("echo.test") ? "echo.test" : false,
});
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    const [word, code, reason] = isBinary ? [] : `${data}`.split(" ");
    if (word === "close") socket.close(Number(code), reason);
    else socket.send(data, { binary: isBinary });
  });
});
