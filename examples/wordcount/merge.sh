#!/bin/sh
# Adds up RESULTS/<shard>/counts.txt and prints the 20 most frequent words.
set -eu
if [ $# -ne 1 ] || [ ! -f "$1/0/counts.txt" ]; then
  echo "usage: merge.sh RESULTS   (the --out folder of the job; RESULTS/0/counts.txt must be there)" >&2
  exit 2
fi
cat "$1"/*/counts.txt | awk '{ sum[$2] += $1 } END { for (word in sum) print sum[word], word }' |
  LC_ALL=C sort -k1,1nr -k2 | head -20
