#include "http/listen.h"

#include <charconv>

#include "fmt/format.h"

namespace corpgrid::http {

absl::StatusOr<Options> ParseListen(const std::string& option, const std::string& listen) {
  Options options;
  const size_t colon = listen.rfind(':');
  const char* const end = listen.data() + listen.size();
  const char* const port = colon == std::string::npos ? end : listen.data() + colon + 1;
  const auto [stop, error] = std::from_chars(port, end, options.port);
  if (port == end || stop != end) {
    return absl::InvalidArgumentError(
        fmt::format("{} is \"{}\"; an address and a port are expected, for example 127.0.0.1:8000",
                    option, listen));
  }
  if (error != std::errc()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is \"{}\"; its port may be from 0 to 65535", option, listen));
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
