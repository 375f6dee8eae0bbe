"""Throws POINTS points into the unit square, seeded by the shard, and counts those in the circle.

Only integers: the same seed gives the same count on every machine.
"""
import json
import os
import random
import sys

SIDE = 1 << 31


def main():
    shard, shards = int(sys.argv[1]), int(sys.argv[2])
    points = int(os.environ["POINTS"])
    source = random.Random(shard)
    progress = os.fdopen(int(os.environ["CORPGRID_PROGRESS_FD"]), "w", buffering=1)
    inside = 0
    for i in range(points):
        x, y = source.getrandbits(31), source.getrandbits(31)
        inside += x * x + y * y < SIDE * SIDE
        if i % (points // 10 + 1) == 0:
            print(i / points, file=progress)
    with open("estimate.json", "w") as file:
        json.dump({"shard": shard, "of": shards, "points": points, "inside": inside}, file)


main()
