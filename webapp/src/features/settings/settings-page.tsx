import { Page } from "../../components/page";
import { SkeletonRows } from "../../components/skeleton";

export function SettingsPage() {
  return (
    <Page title="Settings">
      <SkeletonRows />
    </Page>
  );
}
