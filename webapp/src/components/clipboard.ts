// Copies text. Browsers have a clipboard only on https and localhost; a server
// that is reached by plain http in its own network gets the older way.
export async function copyToClipboard(text: string): Promise<void> {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "fixed top-0 left-0 opacity-0";
  // Inside a dialog the focus may not leave it.
  const place = document.querySelector("[role=dialog]") ?? document.body;
  const focused = document.activeElement;
  place.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!copied)
    throw new Error("This browser does not let the page copy; select the text and copy it yourself");
}
