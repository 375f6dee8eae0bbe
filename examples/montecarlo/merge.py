#!/usr/bin/env python3
"""Adds up RESULTS/<shard>/estimate.json and prints pi with its standard error."""
import json
import math
import pathlib
import sys


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*/estimate.json")) if len(sys.argv) == 2 else []
    if not files:
        sys.exit("usage: merge.py RESULTS   (the --out folder of the job, with */estimate.json)")
    shards = [json.loads(file.read_text()) for file in files]
    if len(shards) != shards[0]["of"]:
        sys.exit(f"merge.py: {len(shards)} of {shards[0]['of']} shards are there")
    points = sum(shard["points"] for shard in shards)
    share = sum(shard["inside"] for shard in shards) / points
    error = 4 * math.sqrt(share * (1 - share) / points)
    print(f"pi = {4 * share:.5f} ± {error:.5f}   ({points:,} points in {len(shards)} shards)")


main()
