import { Page } from "../../components/page";
import { SkeletonRows } from "../../components/skeleton";

export function DataPage() {
  return (
    <Page title="Data">
      <SkeletonRows />
    </Page>
  );
}
