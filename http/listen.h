#pragma once

#include <string>

#include "http/server.h"

namespace corpgrid::http {

// Where to listen: "127.0.0.1:8000", "[::1]:0". Errors: InvalidArgument that names `option`, and
// the ports that there are.
absl::StatusOr<Options> ParseListen(const std::string& option, const std::string& listen);

// For URLs: "127.0.0.1:8000", "[::1]:8000".
std::string HostAndPort(const std::string& address, uint16_t port);

}  // namespace corpgrid::http
