// One client a service.
import { createClient } from "@connectrpc/connect";
import { CatalogService } from "../gen/causality/catalog/v1/catalog_pb";
import { HealthService } from "../gen/causality/health/v1/health_pb";
import { IdentityService } from "../gen/causality/identity/v1/identity_pb";
import { InsightsService } from "../gen/causality/insights/v1/insights_pb";
import { QueryService } from "../gen/causality/query/v1/query_pb";
import { TenancyService } from "../gen/causality/tenancy/v1/tenancy_pb";
import { transport } from "./transport";

export const identity = createClient(IdentityService, transport);
export const tenancy = createClient(TenancyService, transport);
export const catalog = createClient(CatalogService, transport);
export const insights = createClient(InsightsService, transport);
export const sql = createClient(QueryService, transport);
export const health = createClient(HealthService, transport);
