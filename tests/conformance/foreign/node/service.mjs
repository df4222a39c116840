// The service of echo_grpc.py; the first argument of every script here is the folder that it wrote it to.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const LARGE_BYTES = 3 * 1024 * 1024;
export const WORDS = "näh: ☃ 100% \n";
export const BINARY = Buffer.from(Array.from({ length: 255 }, (_, index) => index));
export const details = readFileSync(join(process.argv[2], "status.binpb"));
export const descriptorSet = readFileSync(join(process.argv[2], "service.binpb"));

export function soon(condition) {
  const ends = Date.now() + 10_000;
  const look = async () => {
    if (await condition()) return true;
    if (Date.now() > ends) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
    return look();
  };
  return look();
}

export function tell(facts) {
  console.log(JSON.stringify(facts));
  process.exit(0);
}
