import { Page } from "../../components/page";
import { SkeletonRows } from "../../components/skeleton";

export function SqlPage() {
  return (
    <Page title="SQL">
      <SkeletonRows />
    </Page>
  );
}
