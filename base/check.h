#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the program, in release builds too, when what must always be true is not.
#define CHECK_INVARIANT(condition)                                                 \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)
