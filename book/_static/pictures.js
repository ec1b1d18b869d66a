// A box whose picture is wider than the screen scrolls, and then the Tab key has to reach it.
const reach = () => {
  for (const box of document.querySelectorAll(".picture-box")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
addEventListener("load", reach);
for (const image of document.querySelectorAll(".picture-box img"))
  image.addEventListener("load", reach); // pictures that come late
reach();
