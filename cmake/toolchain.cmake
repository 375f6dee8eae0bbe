# How every target is compiled. Presets choose CMAKE_BUILD_TYPE and CORPGRID_SANITIZE.
set(CORPGRID_SANITIZE "" CACHE STRING "address,undefined or thread; empty for none")
option(CORPGRID_FUZZ "Build the fuzzers with libFuzzer (clang)" OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/tools/ccache.sh)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/tools/ccache.sh)
endif()

find_program(LLD ld.lld)
if(LLD)
  add_link_options(-fuse-ld=lld)
endif()

# One floating-point result whichever compiler builds it: the core must replay to the bit.
add_compile_options(-Wall -Wextra -Werror -ffp-contract=off -fno-omit-frame-pointer)
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # Without its time stamp a precompiled header is the same file wherever it is made.
  # clang warns of what the macros of system headers expand to: libseccomp's leave a field out.
  add_compile_options(-Wthread-safety -Wno-missing-field-initializers
                      "SHELL:-Xclang -fno-pch-timestamp")
else()
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
if(CORPGRID_SANITIZE)
  # Optimised a little: the checks are the same and the simulator runs several times as fast.
  add_compile_options(-O1 -fsanitize=${CORPGRID_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CORPGRID_SANITIZE})
endif()
if(CORPGRID_SANITIZE STREQUAL thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # ThreadSanitizer knows no fences, of which asio has some beside the locks that order its handlers.
  add_compile_options(-Wno-tsan)
endif()
if(CORPGRID_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
