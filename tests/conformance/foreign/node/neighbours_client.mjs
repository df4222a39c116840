// Node reads nothing of one answer until two hundred others on its connection have come: node neighbours_client.mjs URL
import http2 from "node:http2";

const session = http2.connect(process.argv[2], { rejectUnauthorized: false });

function got(path, stop) {
  const stream = session.request({ ":path": path });
  let bytes = 0;
  const ended = new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("end", () => resolve(bytes));
  });
  const read = () => stream.on("data", (data) => { bytes += data.length; });
  if (!stop) read();
  return { stream, ended, read };
}

const slow = got("/large", true);
await new Promise((resolve) => slow.stream.on("response", resolve));
const others = await Promise.all(Array.from({ length: 50 }, () => got("/page").ended));
for (let round = 0; round < 3; round += 1) {
  others.push(...await Promise.all(Array.from({ length: 50 }, () => got("/page").ended)));
}
slow.read();
console.log(JSON.stringify({ others, slow: await slow.ended }));
process.exit(0);
