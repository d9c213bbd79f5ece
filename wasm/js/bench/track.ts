export { newCore } from "../src/core";
export { newIds } from "../src/core/ids";
export { newVisitor } from "../src/core/visitor";
