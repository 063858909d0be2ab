// Points carried by the mouse: what is dragged is a list of references.

const KIND = "application/x-ganfeat-points";

export function carry(element, references) {
  element.draggable = true;
  element.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData(KIND, references().join(","));
    event.dataTransfer.effectAllowed = "copyMove";
  });
}

export function accept(element, onDrop) {
  const ours = (event) => event.dataTransfer?.types.includes(KIND);
  let depth = 0;
  const leave = () => {
    depth = 0;
    element.classList.remove("over");
  };
  element.addEventListener("dragenter", (event) => {
    if (!ours(event)) return;
    depth += 1;
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) leave();
  });
  element.addEventListener("dragover", (event) => {
    if (ours(event)) event.preventDefault();
  });
  element.addEventListener("drop", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    event.stopPropagation();
    leave();
    onDrop(event.dataTransfer.getData(KIND).split(",").filter(Boolean), event);
  });
}
