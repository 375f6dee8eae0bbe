#include "http/listen.h"

#include <charconv>

#include "fmt/format.h"

namespace corpgrid::http {

absl::StatusOr<Options> ParseListen(const std::string& option, const std::string& listen) {
  Options options;
  const size_t colon = listen.rfind(':');
  const char* end = listen.data() + listen.size();
  if (colon == std::string::npos || colon + 1 == listen.size() ||
      std::from_chars(listen.data() + colon + 1, end, options.port).ptr != end) {
    return absl::InvalidArgumentError(
        fmt::format("{} is \"{}\"; an address and a port are expected, for example 127.0.0.1:8000",
                    option, listen));
  }
  options.address = listen.substr(0, colon);
  if (options.address.starts_with('[') && options.address.ends_with(']')) {
    options.address = options.address.substr(1, options.address.size() - 2);
  }
  return options;
}

std::string HostAndPort(const std::string& address, uint16_t port) {
  const bool is_ipv6 = address.find(':') != std::string::npos;
  return is_ipv6 ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
}

}  // namespace corpgrid::http
