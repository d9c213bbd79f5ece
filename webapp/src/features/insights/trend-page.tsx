import { Page } from "../../components/page";
export function TrendPage() {
  return <Page title="Trends">{null}</Page>;
}
