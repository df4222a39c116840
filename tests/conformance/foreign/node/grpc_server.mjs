// @grpc/grpc-js serves the service of echo_grpc.py: node grpc_server.mjs FOLDER HOST:PORT
import grpc from "@grpc/grpc-js";
import { Echo } from "./grpc_js.mjs";
import { details } from "./service.mjs";

const left = new Set();

function unary(call, done) {
  const trailing = new grpc.Metadata();
  if (call.metadata.get("x-ask").length) {
    const initial = new grpc.Metadata();
    initial.set("x-initial", "in");
    call.sendMetadata(initial);
    trailing.set("x-trailing", "out");
    trailing.set("x-trailing-bin", call.metadata.get("x-ask-bin")[0]);
  }
  done(null, call.request, trailing);
}

function repeat(call) {
  for (let number = 0; number < Number(call.request.value); number += 1) call.write({ value: String(number) });
  call.end();
}

function gather(call, done) {
  const found = [];
  call.on("data", ({ value }) => found.push(value));
  call.on("end", () => done(null, { value: found.join(",") }));
}

function chat(call) {
  call.on("data", (message) => call.write(message));
  call.on("end", () => call.end());
}

function fail(call, done) {
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", details);
  done({ code: grpc.status.INVALID_ARGUMENT, details: call.request.value, metadata });
}

function wait(call) {
  const timer = setTimeout(() => call.end(), 20_000);
  call.on("cancelled", () => {
    clearTimeout(timer);
    left.add(call.request.value);
  });
  if (call.request.value) call.write({ value: "begun" });
}

const server = new grpc.Server({ "grpc.max_receive_message_length": 6 * 1024 * 1024 });
server.addService(Echo.service, {
  Unary: unary,
  Repeat: repeat,
  Gather: gather,
  Chat: chat,
  Fail: fail,
  Remaining: (call, done) => done(null, { value: String((call.getDeadline() - Date.now()) / 1000) }),
  Wait: wait,
  Left: (call, done) => done(null, { value: left.has(call.request.value) ? "yes" : "no" }),
});
server.bindAsync(process.argv[3], grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  console.log("ready");
});
