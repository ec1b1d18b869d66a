// What is wider than a phone's screen scrolls in its box, and then the Tab key has to reach the box.
const reach = () => {
  for (const formula of document.querySelectorAll('mjx-container:not([display="true"])')) {
    formula.classList.remove("wide-formula");
    const text = formula.closest("p, li, dd, dt, figcaption, h1, h2, h3, h4");
    if (!text || formula.closest("td, th")) continue; // a table scrolls as a whole
    const wide = formula.getBoundingClientRect().width > text.clientWidth + 1;
    formula.classList.toggle("wide-formula", wide);
  }
  for (const box of document.querySelectorAll(".picture-box, .wide-formula")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
addEventListener("load", () => {
  reach();
  window.MathJax?.startup?.promise?.then(reach); // formulas come late
});
for (const image of document.querySelectorAll(".picture-box img"))
  image.addEventListener("load", reach); // and so do pictures
