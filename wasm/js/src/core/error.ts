import type { Reason } from "./types";

/** What track and its kin refuse. The page hands it to onError instead of throwing. */
export class CausalityError extends Error {
  /** Reason is invalid, too_large, queue_full or closed; field is the one that is wrong, for example properties.total. */
  constructor(
    readonly reason: Reason,
    problem: string,
    readonly field?: string,
  ) {
    super(`causality: ${problem}`);
  }
}
