// @connectrpc/connect, in any of its protocols: node connect_client.mjs FOLDER http://HOST:PORT connect|grpc-web|grpc 1.1|2 [CA]
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { BINARY, LARGE_BYTES, WORDS, descriptorSet, soon, tell } from "./service.mjs";

const [, , , baseUrl, protocol, httpVersion, ca] = process.argv;
const transports = { connect: createConnectTransport, "grpc-web": createGrpcWebTransport, grpc: createGrpcTransport };
const nodeOptions = ca ? { ca: readFileSync(ca) } : {};
const transport = transports[protocol]({ baseUrl, httpVersion, nodeOptions, useBinaryFormat: true });
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
const client = createClient(registry.getService("daemun.test.Echo"), transport);

async function failure(asked) {
  try {
    await asked;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

async function collected(stream) {
  const found = [];
  for await (const { value } of stream) found.push(value);
  return found;
}

async function metadata() {
  const seen = {};
  const headers = { "x-ask": "yes", "x-ask-bin": BINARY.toString("base64") };
  await client.unary({ value: "m" }, {
    headers,
    onHeader: (one) => { seen.initial = one; },
    onTrailer: (one) => { seen.trailing = one; },
  });
  const { initial, trailing } = seen;
  return [initial.get("x-initial"), trailing.get("x-trailing"), trailing.get("x-trailing-bin")];
}

async function* each(values) {
  for (const value of values) yield { value };
}

// each message is sent after the answer to the one before
async function pingPong() {
  let answered = Promise.resolve();
  let release;
  async function* questions() {
    for (const value of "abc") {
      await answered;
      answered = new Promise((resolve) => { release = resolve; });
      yield { value };
    }
  }
  const found = [];
  for await (const { value } of client.chat(questions(), { timeoutMs: 10_000 })) {
    found.push(value);
    release();
  }
  return found;
}

async function cancelled() {
  const who = randomUUID();
  const controller = new AbortController();
  const error = await failure((async () => {
    for await (const _ of client.wait({ value: who }, { signal: controller.signal })) controller.abort();
  })());
  return [error.code, await soon(async () => (await client.left({ value: who })).value === "yes")];
}

const failed = await failure(client.fail({ value: WORDS }));
const large = (await client.unary({ value: "x".repeat(LARGE_BYTES) })).value;
const left = Number((await client.remaining({}, { timeoutMs: 20_000 })).value);
const streams = protocol !== "grpc-web";
tell({
  unary: (await client.unary({ value: "hello" })).value,
  metadata: await metadata(),
  server_streaming: await collected(client.repeat({ value: "3" })),
  ...(streams && { client_streaming: (await client.gather(each("abc"))).value }),
  ...(streams && httpVersion === "2" && { ping_pong: await pingPong() }),
  large: large === "x".repeat(large.length) ? large.length : -1,
  status: [failed.code, failed.rawMessage, failed.findDetails(StringValueSchema).map(({ value }) => value)],
  deadline: (await failure(collected(client.wait({}, { timeoutMs: 400 })))).code,
  remaining: left > 15 && left < 21,
  // over HTTP/1 a client leaves by closing, which looks like the end of its half until TCP finds out
  ...(httpVersion === "2" && { cancelled: await cancelled() }),
});
