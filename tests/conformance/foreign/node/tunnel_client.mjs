// Node opens a tunnel by extended CONNECT (RFC 8441): node tunnel_client.mjs http://HOST:PORT
import http2 from "node:http2";

const session = http2.connect(process.argv[2]);
session.once("remoteSettings", ({ enableConnectProtocol }) => {
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": "/chat?room=1",
    "sec-websocket-version": "13",
  });
  const told = { enabled: enableConnectProtocol, echoed: "" };
  stream.setEncoding("utf8");
  stream.on("response", (headers) => {
    told.status = headers[":status"];
    told.path = headers["x-path"];
    stream.write("ping");
  });
  stream.on("data", (text) => {
    told.echoed += text;
    if (told.echoed === "ping") stream.end("pong");
  });
  stream.on("error", (error) => { told.error = error.message; });
  stream.on("close", () => {
    console.log(JSON.stringify(told));
    process.exit(0);
  });
});
