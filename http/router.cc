#include "http/router.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

namespace corpgrid::http {

std::string_view Request::Header(std::string_view name) const {
  const auto same = [&](const auto& header) {
    return std::equal(
        name.begin(), name.end(), header.first.begin(), header.first.end(),
        [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  };
  const auto found = std::find_if(headers.begin(), headers.end(), same);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

void Router::Add(std::string method, std::string path, Handler handler) {
  const size_t rest = path.find('{');
  const bool takes_rest = rest != std::string::npos;
  if (takes_rest) path.erase(rest);
  routes_.push_back({std::move(method), std::move(path), takes_rest, std::move(handler)});
  std::stable_partition(routes_.begin(), routes_.end(),
                        [](const Route& route) { return !route.takes_rest; });
}

Router::Found Router::Find(std::string_view method, std::string_view path) const {
  Found found;
  for (const Route& route : routes_) {
    const bool fits = route.takes_rest
                          ? path.size() > route.path.size() && path.starts_with(route.path)
                          : path == route.path;
    if (!fits) continue;
    if (route.method == method) {
      found.handler = &route.handler;
      found.parameter = path.substr(route.path.size());
      return found;
    }
    found.allowed += (found.allowed.empty() ? "" : ", ") + route.method;
  }
  return found;
}

std::optional<std::string> DecodePath(std::string_view path) {
  std::string decoded;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      decoded += path[i];
      continue;
    }
    uint8_t byte = 0;
    if (i + 2 >= path.size()) return std::nullopt;
    const char* end = path.data() + i + 3;
    if (std::from_chars(path.data() + i + 1, end, byte, 16).ptr != end || byte == 0) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

}  // namespace corpgrid::http
