export { appendBody, newCore } from "./core";
export { CausalityError } from "./error";
export { encodeEvent } from "./event";
