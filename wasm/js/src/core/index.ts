export { appendBody, newCore } from "./core";
export { CausalityError } from "./error";
export { encodeEvent } from "./event";
export { newIds } from "./ids";
export { newVisitor } from "./visitor";
