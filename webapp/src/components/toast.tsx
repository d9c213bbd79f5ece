// Toaster, once in the shell; `toast` from anywhere: toast.success("Copied"),
// toast("Removed", { action: { label: "Undo", onClick } }). For results of what
// the person just did; anything that must be read later belongs on the page.
import { CircleAlert, CircleCheck, Info } from "lucide-react";
import { Toaster as Sonner, toast } from "sonner";
import { useTheme } from "../app/theme";

export { toast };

export function Toaster() {
  const { resolved } = useTheme();
  return (
    <Sonner
      theme={resolved}
      position="bottom-right"
      gap={8}
      offset={16}
      mobileOffset={{ bottom: 72 }}
      icons={{
        success: <CircleCheck size={16} strokeWidth={1.5} className="text-good" />,
        error: <CircleAlert size={16} strokeWidth={1.5} className="text-bad" />,
        info: <Info size={16} strokeWidth={1.5} className="text-muted" />,
      }}
      toastOptions={{
        unstyled: true,
        classNames: {
          toast:
            "flex w-full items-center gap-2.5 rounded-lg bg-raised px-3 py-2.5 font-sans text-13 text-text shadow-menu sm:w-90",
          title: "font-medium",
          description: "text-12 text-muted",
          content: "min-w-0 flex-1",
          actionButton: "rounded-md px-2 py-1 font-medium text-13 text-accent-text hover:bg-hover",
        },
      }}
    />
  );
}
