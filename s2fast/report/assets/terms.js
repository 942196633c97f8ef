// What the words of the page mean, where they stand: a question mark behind every element with data-term.

const TERMS = {
  "self-test": "Each pair was matched again at places where the scenes certainly do not show the same ground. Nothing there can be true, so every one that is verified is a false alarm: this measures how often a verdict is wrong on these very images.",
  "agreement": "All verified shifts of a tile are fitted at once, so that each scene has one offset against the middle of its series. A scene disagrees if its own pairs contradict that offset: look at it before you use it.",
  "shift": "Train minus query: how far the same ground lies further east and north in the second scene. To correct a scene, add the offset's opposite, as \"to correct\" says.",
  "error": "Standard error of the shift, from the scatter of the inliers and their number.",
  "inliers": "Matches that agree with the shift of their pair.",
  "witnesses": "Inliers that lie far enough apart on the ground to be independent.",
  "similarity": "Good matches in per cent of the smaller scene's keypoints, as in the notebook. It is no measure of truth: season and clouds lower it.",
  "clear": "Share of the scene's pixels that have data and are not clouds. Where more than 60 % is bright, clouds cannot be told from snow and are not judged.",
  "CE90": "Circular error: 90 % are within this radius.",
  "RMSE": "Root mean square, of the east and of the north part.",
  "residual": "What is left of a match's displacement when the shift of its pair is taken away.",
};

function explained(root, term = root.dataset.term) {
  const ask = element("button", { type: "button", class: "term", "aria-label": `What is meant by ${term}?` }, "?");
  ask.addEventListener("click", (event) => {
    event.preventDefault();
    byId("term").replaceChildren(element("strong", {}, term), element("br"), TERMS[term]);
    byId("term").showPopover();
  });
  root.append(ask);
  return root;
}
