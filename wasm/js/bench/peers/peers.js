// Each peer as its documentation sets it up, without what records by itself, and pointed at the sink.
import * as amplitude from "@amplitude/analytics-browser";
import { newTracker, trackSelfDescribingEvent } from "@snowplow/browser-tracker";
import mixpanel from "mixpanel-browser";
import posthog from "posthog-js";

const sink = location.origin;
posthog.init("phc_bench", {
  api_host: `${sink}/posthog`,
  autocapture: false,
  capture_pageview: false,
  capture_pageleave: false,
  disable_session_recording: true,
  disable_surveys: true,
  disable_external_dependency_loading: true,
  advanced_disable_decide: true,
  advanced_disable_flags: true,
});
amplitude.init("bench", {
  serverUrl: `${sink}/amplitude`,
  autocapture: false,
  remoteConfig: { fetchRemoteConfig: false },
});
mixpanel.init("bench", { api_host: `${sink}/mixpanel`, autocapture: false, track_pageview: false });
newTracker("bench", `${sink}/snowplow`, { appId: "bench" });

window.peers = {
  "posthog-js": (properties) => posthog.capture("order paid", properties),
  "@amplitude/analytics-browser": (properties) => amplitude.track("order paid", properties),
  "mixpanel-browser": (properties) => mixpanel.track("order paid", properties),
  "@snowplow/browser-tracker": (properties) =>
    trackSelfDescribingEvent({
      event: { schema: "iglu:com.example/order_paid/jsonschema/1-0-0", data: properties },
    }),
};
