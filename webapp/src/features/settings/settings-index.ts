// What can be set, for the search.
export type SettingsTab = "apps" | "keys" | "install" | "members";

export const settingsTabs: readonly { id: SettingsTab; label: string }[] = [
  { id: "apps", label: "Apps" },
  { id: "keys", label: "Keys" },
  { id: "install", label: "Install" },
  { id: "members", label: "Members" },
];

const index: readonly { tab: SettingsTab; label: string; about: string; words: string }[] = [
  { tab: "apps", label: "Name of an app", about: "How it is called everywhere.", words: "rename title" },
  {
    tab: "apps",
    label: "Time zone",
    about: "Where an app's days, weeks and hours begin.",
    words: "timezone clock dst utc day",
  },
  {
    tab: "apps",
    label: "IP addresses",
    about: "Whether they are kept, shortened or dropped.",
    words: "privacy gdpr truncate address policy",
  },
  {
    tab: "apps",
    label: "Create app",
    about: "One app for each product whose events belong together.",
    words: "new add",
  },
  {
    tab: "keys",
    label: "Write keys",
    about: "Public keys that can only send events.",
    words: "api wk_ token create",
  },
  {
    tab: "keys",
    label: "Secret keys",
    about: "Keys of servers that may also read and import.",
    words: "api sk_ token create import export",
  },
  {
    tab: "keys",
    label: "Rate limit",
    about: "How many events a second a key may send.",
    words: "throttle 429 burst",
  },
  {
    tab: "keys",
    label: "Rotate a key",
    about: "A successor, with both valid for a while.",
    words: "renew replace overlap",
  },
  {
    tab: "keys",
    label: "Revoke a key",
    about: "Refuse everything that comes with it.",
    words: "delete remove block leak",
  },
  {
    tab: "install",
    label: "Browser SDK",
    about: "The script tag, npm and React, with the key inside.",
    words: "web javascript typescript js snippet tracker library",
  },
  {
    tab: "install",
    label: "Android SDK",
    about: "The Gradle dependency and the first lines in Kotlin.",
    words: "java kotlin mobile phone snippet library",
  },
  {
    tab: "install",
    label: "iOS SDK",
    about: "The Swift package and the first lines.",
    words: "swift apple mobile phone snippet library",
  },
  {
    tab: "install",
    label: "Go SDK",
    about: "The first lines, with the key inside.",
    words: "golang snippet library",
  },
  {
    tab: "install",
    label: "HTTP",
    about: "One event from a shell or any language.",
    words: "curl json snippet shell api",
  },
  { tab: "install", label: "Send test event", about: "See that an event arrives.", words: "try check debug" },
  {
    tab: "members",
    label: "Members",
    about: "Who can sign in, and in which role.",
    words: "users people team role owner",
  },
  { tab: "members", label: "Sign-in link", about: "Let somebody in, once.", words: "invite login access" },
];

export function findSettings(text: string) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  return index.filter((s) => {
    const all = `${s.label} ${s.about} ${s.words}`.toLowerCase();
    return words.every((w) => all.includes(w));
  });
}
