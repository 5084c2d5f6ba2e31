// The editor of the SQL page: Ctrl+Enter runs, names of columns go in where the caret is, an error's place gets the caret.
"use strict";
(() => {
  const form = document.getElementById("sql-form");
  const text = document.getElementById("sql-text");
  if (!form || !text) return;

  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });

  for (const button of document.querySelectorAll("button.insert")) {
    button.disabled = false;
    button.title = "Put it into the query";
    button.addEventListener("click", () => {
      text.setRangeText(button.dataset.insert, text.selectionStart, text.selectionEnd, "end");
      text.focus();
    });
  }

  const place = document.getElementById("sql-place");
  if (place) {
    const lines = text.value.split("\n");
    const line = Number(place.dataset.line);
    const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    // Columns count characters, the caret counts UTF-16 units.
    const column = [...(lines[line - 1] ?? "")].slice(0, Number(place.dataset.column) - 1).join("").length;
    text.focus();
    text.setSelectionRange(before + column, before + column);
  }
})();
