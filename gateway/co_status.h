#pragma once

#include "absl/status/statusor.h"
#include "base/status_macros.h"

// The macros of base/status_macros.h for coroutines.
#define CO_RETURN_IF_ERROR(expr)                                                 \
  do {                                                                           \
    if (::absl::Status cg_status = (expr); !cg_status.ok()) co_return cg_status; \
  } while (false)

#define CO_ASSIGN_OR_RETURN(lhs, expr) \
  CO_ASSIGN_OR_RETURN_INNER(CG_CONCAT(cg_or_, __LINE__), lhs, expr)
#define CO_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr)   \
  auto tmp = (expr);                                \
  if (!tmp.ok()) co_return std::move(tmp).status(); \
  lhs = *std::move(tmp)
