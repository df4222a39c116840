// The service as @grpc/grpc-js takes it.
import grpc from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import { descriptorSet } from "./service.mjs";

export const Echo = grpc.loadPackageDefinition(loadFileDescriptorSetFromBuffer(descriptorSet)).daemun.test.Echo;
