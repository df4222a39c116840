// @grpc/grpc-js asks what echo_grpc.facts asks: node grpc_client.mjs FOLDER HOST:PORT [CA]
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { Echo } from "./grpc_js.mjs";
import { BINARY, LARGE_BYTES, WORDS, soon, tell } from "./service.mjs";

const [, , , target, ca] = process.argv;
const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
const client = new Echo(target, credentials);
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

function call(name, value, metadata = new grpc.Metadata()) {
  return new Promise((resolve) => {
    const seen = {};
    const one = client[name]({ value }, metadata, within(20), (error, answer) => {
      seen.error = error;
      seen.answer = answer?.value;
    });
    one.on("metadata", (initial) => { seen.initial = initial; });
    one.on("status", (status) => resolve({ ...seen, status }));
  });
}

const ask = async (name, value) => (await call(name, value)).answer;

async function metadata() {
  const sent = new grpc.Metadata();
  sent.set("x-ask", "yes");
  sent.set("x-ask-bin", BINARY);
  const { initial, status } = await call("Unary", "m", sent);
  const [binary] = status.metadata.get("x-trailing-bin");
  return [initial.get("x-initial")[0], status.metadata.get("x-trailing")[0], binary.toString("base64")];
}

function collected(stream) {
  return new Promise((resolve, reject) => {
    const found = [];
    stream.on("data", ({ value }) => found.push(value));
    stream.on("end", () => resolve(found));
    stream.on("error", reject);
  });
}

function gathered() {
  return new Promise((resolve, reject) => {
    const stream = client.Gather(within(20), (error, answer) => (error ? reject(error) : resolve(answer.value)));
    for (const value of "abc") stream.write({ value });
    stream.end();
  });
}

function pingPong() {
  const stream = client.Chat(within(10));
  const rest = ["b", "c"];
  stream.on("data", () => (rest.length ? stream.write({ value: rest.shift() }) : stream.end()));
  stream.write({ value: "a" });
  return collected(stream);
}

async function status() {
  const { error } = await call("Fail", WORDS);
  return [error.code, error.details, error.metadata.get("grpc-status-details-bin")[0].toString("base64")];
}

function ended(stream) {
  return new Promise((resolve) => {
    stream.on("error", () => {});
    stream.on("status", ({ code }) => resolve(code));
  });
}

async function deadline() {
  const stream = client.Wait({}, within(0.4));
  stream.resume();
  return ended(stream);
}

async function cancelled() {
  const who = randomUUID();
  const stream = client.Wait({ value: who }, within(20));
  stream.once("data", () => stream.cancel());
  return [await ended(stream), await soon(async () => (await ask("Left", who)) === "yes")];
}

function unimplemented() {
  const bytes = (value) => value;
  return new Promise((resolve) => {
    client.makeUnaryRequest("/daemun.test.Echo/Nothing", bytes, bytes, Buffer.alloc(0), within(10), (error) => resolve(error?.code));
  });
}

const large = await ask("Unary", "x".repeat(LARGE_BYTES));
const left = Number(await ask("Remaining", ""));
tell({
  unary: await ask("Unary", "hello"),
  metadata: await metadata(),
  server_streaming: await collected(client.Repeat({ value: "3" }, within(10))),
  client_streaming: await gathered(),
  ping_pong: await pingPong(),
  large: large === "x".repeat(large.length) ? large.length : -1,
  status: await status(),
  unimplemented: await unimplemented(),
  deadline: await deadline(),
  remaining: left > 15 && left < 21,
  cancelled: await cancelled(),
});
