// Skeleton: a grey shape where something will stand, of the size it will have.
// Compose several into the real layout; QueryBoundary shows them after 150 ms.
import { cx } from "./class-names";

export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={cx("animate-shimmer rounded-sm bg-line/80", className)} />;
}

export function SkeletonRows({ rows = 6 }: { rows?: number }) {
  return (
    <div aria-hidden className="divide-y divide-line">
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} className="flex h-8 items-center gap-4 px-3">
          <Skeleton className={cx("h-3", ["w-1/3", "w-1/4", "w-2/5"][i % 3])} />
          <Skeleton className="ml-auto h-3 w-12" />
          <Skeleton className="h-3 w-16" />
        </div>
      ))}
    </div>
  );
}
