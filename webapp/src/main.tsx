import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { isUnauthenticated } from "./api/errors";
import { createQueryClient } from "./api/queries";
import { createAppRouter } from "./app/router";
import { startTheme } from "./app/theme";
import { TooltipProvider } from "./components/tooltip";
import "./styles.css";

startTheme();

const queryClient = createQueryClient();
const router = createAppRouter(queryClient);

// A session that ended while a page was open: sign in, then come back here.
queryClient.getQueryCache().subscribe((event) => {
  if (event.type !== "updated" || event.action.type !== "error" || !isUnauthenticated(event.action.error))
    return;
  const { pathname, href } = router.state.location;
  if (pathname === "/sign-in") return;
  queryClient.removeQueries({ queryKey: ["me"] });
  void router.navigate({ to: "/sign-in", search: { next: href } });
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <TooltipProvider>
        <RouterProvider router={router} />
      </TooltipProvider>
    </QueryClientProvider>
  </StrictMode>,
);
