// Sparkline: the shape of a series at a glance, in plain SVG. The last,
// unfinished point is hollow. Words or figures beside it must say the same.
type Props = {
  values: readonly (number | null)[];
  /** The last value's period is not over. */
  open?: boolean;
  width?: number;
  height?: number;
  color?: string;
  label: string;
};

export function Sparkline({
  values,
  open,
  width = 120,
  height = 32,
  color = "var(--color-chart-1)",
  label,
}: Props) {
  const numbers = values.filter((v): v is number => v !== null);
  if (numbers.length < 2) return <svg role="img" aria-label={label} width={width} height={height} />;
  const top = Math.max(...numbers, 1e-9);
  const bottom = Math.min(0, ...numbers);
  const pad = 3;
  const x = (i: number) => pad + (i / (values.length - 1)) * (width - 2 * pad);
  const y = (v: number) => height - pad - ((v - bottom) / (top - bottom || 1)) * (height - 2 * pad);
  let line = "";
  let pen = false;
  values.forEach((v, i) => {
    if (v === null) {
      pen = false;
      return;
    }
    line += `${pen ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = true;
  });
  const last = values.at(-1);
  return (
    <svg
      role="img"
      aria-label={label}
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      className="max-w-full"
    >
      <path d={`${line}L${x(values.length - 1)} ${height}L${x(0)} ${height}Z`} fill={color} opacity={0.1} />
      <path
        d={line}
        fill="none"
        stroke={color}
        strokeWidth={1.5}
        strokeLinejoin="round"
        strokeLinecap="round"
      />
      {last == null ? null : (
        <circle
          cx={x(values.length - 1)}
          cy={y(last)}
          r={2.25}
          fill={open ? "var(--color-surface)" : color}
          stroke={color}
          strokeWidth={1.5}
        />
      )}
    </svg>
  );
}
