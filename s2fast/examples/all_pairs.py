"""The notebook's job through the Python interface: every pair of a folder of scenes, its two tables, its pictures.

    python -m s2fast.examples.all_pairs ARCHIVE POLYGONS.geojson OUT

It goes by the defaults; ``configs/notebook.toml`` in place of None is the notebook's recipe to the letter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import s2fast

ALIKE_PCT = 50.0
PICTURES = 1


def main(archive: str, polygons: str, out: str) -> None:
    """Match all pairs, print both tables, draw the pairs most alike."""
    # Read, mask, detect, match; what the folder holds already is not computed again.
    run = s2fast.run(None, scenes=archive, regions=polygons, out=out)

    pairs = run.pairs().sort_values("similarity_pct", ascending=False)
    columns = ["query", "train", "similarity_pct", "n_good"]
    alike = pairs["similarity_pct"] >= ALIKE_PCT
    for title, table in ((f"{ALIKE_PCT:g} % and more", pairs[alike]), (f"below {ALIKE_PCT:g} %", pairs[~alike])):
        print(f"{title}: {len(table)} pairs")
        print(table[columns].to_string(index=False), end="\n\n")

    # A pair is an address: its keypoints, its matches, its picture.
    for query, train in pairs[["query", "train"]].head(PICTURES).to_numpy():
        matches, features = run.matches(query, train), run.features(query)
        print(f"{query} and {train}: {len(matches)} good matches of {len(features)} keypoints")
        nearest = matches.nsmallest(3, "distance")
        for (x, y), distance in zip(features.xy[nearest["query_row"]], nearest["distance"], strict=True):
            print(f"  column {x:.1f}, row {y:.1f}: {distance} of 486 bits differ")
        picture = Path(out).parent / f"{query}_{train}.png"
        run.show(query, train).savefig(picture, dpi=110)
        print(f"  {picture}")

    print(f"the whole run: {Path(out) / 'report.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
