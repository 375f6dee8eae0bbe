#pragma once

#include <functional>
#include <memory>
#include <string>

#include "http/server.h"

namespace corpgrid::http {

// Answers GET /metrics at `listen` ("127.0.0.1:9090") with what `text` returns, in the form that
// Prometheus reads. Without a key: it tells counts only. Errors: of ParseListen() and
// Server::Start().
absl::StatusOr<std::unique_ptr<Server>> ServeMetrics(const std::string& listen,
                                                     std::function<std::string()> text);

}  // namespace corpgrid::http
