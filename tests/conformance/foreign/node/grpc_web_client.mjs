// The gRPC-Web client from npm: node grpc_web_client.mjs FOLDER http://HOST:PORT text|binary
import grpcWeb from "grpc-web";
import XMLHttpRequest from "xhr2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { BINARY, LARGE_BYTES, WORDS, tell } from "./service.mjs";

globalThis.XMLHttpRequest = XMLHttpRequest;
const [, , , url, format] = process.argv;
const client = new grpcWeb.GrpcWebClientBase({ format });
const serialize = (value) => toBinary(StringValueSchema, create(StringValueSchema, { value }));
const deserialize = (bytes) => fromBinary(StringValueSchema, bytes).value;

function call(name, type, value, metadata) {
  const path = `/daemun.test.Echo/${name}`;
  const method = new grpcWeb.MethodDescriptor(path, type, String, String, serialize, deserialize);
  return new Promise((resolve) => {
    const seen = { messages: [], metadata: {} };
    const ended = () => resolve(seen);
    const stream = type === "unary"
      ? client.rpcCall(url + path, value, metadata, method, (error, answer) => {
        if (error) seen.error = error;
        else seen.messages.push(answer);
        setTimeout(ended, 50); // a unary call has no end of its own, and its status follows
      })
      : client.serverStreaming(url + path, value, metadata, method);
    stream.on("metadata", (one) => Object.assign(seen.metadata, one));
    stream.on("status", (status) => { seen.status = status; });
    if (type === "unary") return;
    stream.on("data", (message) => seen.messages.push(message));
    stream.on("error", (error) => { seen.error = error; ended(); });
    stream.on("end", ended);
  });
}

const unary = (name, value, metadata = {}) => call(name, "unary", value, metadata);

const asked = await unary("Unary", "m", { "x-ask": "yes", "x-ask-bin": BINARY.toString("base64") });
const failed = await unary("Fail", WORDS);
const [large] = (await unary("Unary", "x".repeat(LARGE_BYTES))).messages;
const left = Number((await unary("Remaining", "", { deadline: String(Date.now() + 20_000) })).messages[0]);
tell({
  unary: (await unary("Unary", "hello")).messages[0],
  metadata: [asked.metadata["x-initial"], asked.status.metadata["x-trailing"], asked.status.metadata["x-trailing-bin"]],
  server_streaming: (await call("Repeat", "server_streaming", "3", {})).messages,
  large: large === "x".repeat(large?.length) ? large.length : -1,
  status: [failed.error.code, failed.error.message, failed.error.metadata["grpc-status-details-bin"]],
  unimplemented: (await unary("Nothing", "")).error.code,
  deadline: (await call("Wait", "server_streaming", "", { deadline: String(Date.now() + 400) })).error.code,
  remaining: left > 15 && left < 21,
});
