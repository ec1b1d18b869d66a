// What a link leads to, shown beside it: an equation, a glossary term, a cited work.
// The pointer rests on the link, or the Tab key reaches it; Escape takes the preview away, and the
// pointer may enter it. A finger only ever follows the link. The texts are in the page (previews.py).
const store = document.getElementById("previews");
const texts = store ? JSON.parse(store.textContent) : {};
const WAIT = 250, LEAVE = 200; // milliseconds
const GAP = 8, MARGIN = 12; // CSS pixels

const box = document.createElement("div");
box.id = "preview";
box.className = "preview";
box.setAttribute("role", "tooltip");
box.hidden = true;
document.body.append(box);
let shownFor = null, timer = 0;

const hide = () => {
  clearTimeout(timer);
  shownFor?.removeAttribute("aria-describedby");
  shownFor = null;
  box.hidden = true;
};

// Below the link's first line, above where there is no room, and always within the window.
const place = (link) => {
  const line = link.getClientRects()[0];
  if (!line) return;
  const { width, height } = box.getBoundingClientRect();
  const right = document.documentElement.clientWidth - MARGIN;
  const below = line.bottom + GAP, above = line.top - GAP - height;
  const top = below + height > innerHeight && above > 0 ? above : below;
  const left = Math.max(MARGIN, Math.min(line.left, right - width));
  box.style.left = `${left + scrollX}px`;
  box.style.top = `${top + scrollY}px`;
};

// A formula that is wider than the preview is set smaller.
const fit = () => {
  for (const formula of box.querySelectorAll("mjx-container")) {
    const room = box.clientWidth - 2 * parseFloat(getComputedStyle(box).paddingLeft);
    const wide = formula.firstElementChild?.getBoundingClientRect().width ?? 0;
    if (wide > room) formula.style.fontSize = `${Math.floor((100 * room) / wide)}%`;
  }
};

const show = async (link) => {
  if (shownFor === link) return;
  hide();
  shownFor = link;
  box.innerHTML = texts[link.getAttribute("href")];
  box.style.left = box.style.top = "0";
  box.hidden = false;
  // Signs of a formula are drawn by the style sheet, so an equation alone would have no words.
  if (box.firstElementChild?.matches(".math")) box.setAttribute("aria-label", box.textContent);
  else box.removeAttribute("aria-label");
  link.setAttribute("aria-describedby", box.id);
  place(link);
  const maths = window.MathJax;
  if (!box.querySelector(".math") || !maths?.startup?.promise) return;
  await maths.startup.promise;
  maths.typesetClear([box]);
  await maths.typesetPromise([box]);
  if (shownFor !== link) return;
  for (const formula of box.querySelectorAll("mjx-container")) formula.removeAttribute("tabindex");
  fit();
  place(link);
};

const later = (action, wait) => {
  clearTimeout(timer);
  timer = setTimeout(action, wait);
};

for (const link of document.querySelectorAll("article a.reference.internal")) {
  if (!(link.getAttribute("href") in texts)) continue;
  link.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "touch") later(() => show(link), WAIT);
  });
  link.addEventListener("pointerleave", () => later(hide, LEAVE));
  link.addEventListener("focus", () => {
    if (link.matches(":focus-visible")) show(link);
  });
  link.addEventListener("blur", hide);
  link.addEventListener("click", hide);
}
box.addEventListener("pointerenter", () => clearTimeout(timer));
box.addEventListener("pointerleave", () => later(hide, LEAVE));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
addEventListener("resize", hide);
