// What a page gets: the core as the build minifies and renames it, with the replay of scripts around it.
import { newCore } from "../src/core";
import { run, type Script, type Step } from "./replay";

export const replayMinified = (script: Script): Step[] => run(script, true, newCore);
