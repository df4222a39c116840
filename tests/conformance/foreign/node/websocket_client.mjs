// Node's own WebSocket, or that of the package ws, talks to a server that echoes: node websocket_client.mjs own|ws ws://HOST:PORT
import { WebSocket as Package } from "ws";

const [, , kind, url] = process.argv;
const Client = kind === "ws" ? Package : WebSocket;

function opened(...protocols) {
  const socket = new Client(url, protocols);
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = ({ message }) => reject(new Error(message));
  });
}

function echoed(socket, message) {
  return new Promise((resolve) => {
    socket.onmessage = ({ data }) => resolve(data);
    socket.send(message);
  });
}

function closed(socket) {
  return new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
  });
}

const told = {};
const socket = await opened("other.test", "echo.test");
const text = "text \u03ba \u{10080} ".repeat(20_000);
const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => at * 7);
told.protocol = socket.protocol;
told.compressed = socket.extensions.startsWith("permessage-deflate");
told.text = await echoed(socket, text) === text;
told.binary = Buffer.from(bytes).equals(Buffer.from(await echoed(socket, bytes)));
told.empty = await echoed(socket, "") === "";
socket.send("close 4321 enough");
told.closedByServer = await closed(socket);
const second = await opened();
second.close(3210, "bye");
told.closedByClient = await closed(second);
if (kind === "ws") {
  const third = await opened();
  told.pong = await new Promise((resolve) => {
    third.on("pong", (data) => resolve(`${data}`));
    third.ping("are you there");
  });
  third.terminate();
}
console.log(JSON.stringify(told));
process.exit(0);
