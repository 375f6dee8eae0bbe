#!/bin/sh
# Counts the words of the file $1, whatever their case, into counts.txt: "count word" a line.
set -eu
tr -cs 'A-Za-z' '\n' <"$1" | tr '[:upper:]' '[:lower:]' | grep . | sort | uniq -c >counts.txt
