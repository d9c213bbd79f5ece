import { Page } from "../../components/page";
import { SkeletonRows } from "../../components/skeleton";

export function HealthPage() {
  return (
    <Page title="Health">
      <SkeletonRows />
    </Page>
  );
}
