// The pages that exist, once: sidebar, bottom bar, palette and jumps read this.
import { ChartLine, Database, House, type LucideIcon, Radio, Settings, SquareTerminal } from "lucide-react";

export type NavigationPage = {
  id: "home" | "insights" | "sql" | "live" | "data" | "settings";
  label: string;
  icon: LucideIcon;
  /** Pressed after `g`. */
  jump: string;
  group: "" | "Analyse" | "Operate" | "foot";
  to:
    | "/$workspace/$app/home"
    | "/$workspace/$app/insights/new/trend"
    | "/$workspace/$app/sql"
    | "/$workspace/$app/live"
    | "/$workspace/$app/data"
    | "/$workspace/settings/$tab";
  /** On a phone's bottom bar. */
  bottom?: boolean;
};

export const pages: readonly NavigationPage[] = [
  { id: "home", label: "Home", icon: House, jump: "h", group: "", to: "/$workspace/$app/home", bottom: true },
  {
    id: "insights",
    label: "Trends",
    icon: ChartLine,
    jump: "i",
    group: "Analyse",
    to: "/$workspace/$app/insights/new/trend",
    bottom: true,
  },
  {
    id: "sql",
    label: "SQL",
    icon: SquareTerminal,
    jump: "q",
    group: "Analyse",
    to: "/$workspace/$app/sql",
    bottom: true,
  },
  {
    id: "live",
    label: "Live",
    icon: Radio,
    jump: "l",
    group: "Operate",
    to: "/$workspace/$app/live",
    bottom: true,
  },
  { id: "data", label: "Data", icon: Database, jump: "e", group: "Operate", to: "/$workspace/$app/data" },
  {
    id: "settings",
    label: "Settings",
    icon: Settings,
    jump: "s",
    group: "foot",
    to: "/$workspace/settings/$tab",
  },
];
