import { Page } from "../../components/page";
import { SkeletonRows } from "../../components/skeleton";

export function LivePage() {
  return (
    <Page title="Live">
      <SkeletonRows />
    </Page>
  );
}
