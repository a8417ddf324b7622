// Before anything is drawn: the theme that was chosen here, if one was.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("limpet-theme"); } catch { /* storage is switched off: follow the system */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
