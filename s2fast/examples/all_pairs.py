"""The notebook's task with the Python interface: match all pairs of a folder, print two tables, draw the best pair.

    python -m s2fast.examples.all_pairs ARCHIVE POLYGONS.geojson OUT

It uses the default settings; pass ``profile="notebook"`` to follow the notebook exactly.
"""

from __future__ import annotations

import sys
from pathlib import Path

import s2fast
from s2fast.examples.script import run_script

SIMILAR_PCT = 50.0
PICTURES = 1


def main(archive: str, polygons: str, out: str) -> None:
    """Match all pairs, print both tables, draw the most similar pairs."""
    # Read, mask, detect and match; results already in the folder are reused.
    run = s2fast.run(scenes=archive, regions=polygons, out=out)

    pairs = run.pairs().sort_values("similarity_pct", ascending=False)
    columns = ["query", "train", "similarity_pct", "n_good"]
    similar = pairs["similarity_pct"] >= SIMILAR_PCT
    for title, table in (
        (f"{SIMILAR_PCT:g} % and more", pairs[similar]),
        (f"below {SIMILAR_PCT:g} %", pairs[~similar]),
    ):
        print(f"{title}: {len(table)} pairs")
        print(table[columns].to_string(index=False), end="\n\n")

    # The two scene ids of a pair give access to its features, matches and picture.
    for query, train in pairs[["query", "train"]].head(PICTURES).to_numpy():
        matches, features = run.matches(query, train), run.features(query)
        print(f"{query} and {train}: {len(matches)} good matches of {len(features)} keypoints")
        nearest = matches.nsmallest(3, "distance")
        for (x, y), distance in zip(features.xy[nearest["query_row"]], nearest["distance"], strict=True):
            print(f"  column {x:.1f}, row {y:.1f}: {distance} of 486 bits differ")
        picture = Path(out).parent / f"{query}_{train}.png"
        run.show(query, train).savefig(picture, dpi=110)
        print(f"  {picture}")

    print(f"report: {Path(out) / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main, "s2fast.examples.all_pairs", "ARCHIVE POLYGONS.geojson OUT"))
