#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace corpgrid::http {

using Handler = std::function<Task<void>(Exchange& exchange)>;

// Which handler answers which path. It is filled before it is used; then any thread.
class Router {
 public:
  // `path` may end with "{…}", which stands for the rest of a path, "/" included: names of models
  // have it. Paths without it go first.
  void Add(std::string method, std::string path, Handler handler);

  struct Found {
    const Handler* handler = nullptr;  // null: no such path, or not with this method
    std::string parameter;
    std::string allowed;  // the methods of a path that is not there with this one: "GET, POST"
  };
  Found Find(std::string_view method, std::string_view path) const;

 private:
  struct Route {
    std::string method, path;
    bool takes_rest = false;
    Handler handler;
  };
  std::vector<Route> routes_;
};

// The path with its "%41"s decoded. Nothing where one is broken or stands for a zero byte.
std::optional<std::string> DecodePath(std::string_view path);

}  // namespace corpgrid::http
