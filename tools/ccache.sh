#!/bin/sh
# The compiler launcher: ccache, set up so that precompiled headers and several checkouts share one
# cache. usage: tools/ccache.sh COMPILER ARGUMENT…
#
# gcc, asked to precompile a header of which an old precompiled one is still there, takes that one
# for the header, and ccache keys what comes out by it: another change of the header would get the
# same key, and so the wrong file. So the old one goes first.
header=
output=
last=
for argument in "$@"; do
  [ "$last" = -x ] && [ "$argument" = c++-header ] && header=yes
  [ "$last" = -o ] && output=$argument
  last=$argument
done
[ "$header" ] && rm -f "$output"
CCACHE_BASEDIR=$(dirname "$(dirname "$0")")
export CCACHE_BASEDIR CCACHE_NOHASHDIR=1
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
exec ccache "$@"
