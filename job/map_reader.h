#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "job/yaml.h"

namespace corpgrid::job {

// Mistakes beyond these are counted, not told.
inline constexpr size_t kMostMistakes = 50;

// Reads the maps of a YAML tree and collects what is wrong with them. Every value has a path as in
// Problem; a value that was not understood is replaced by one that breaks no rule, so that a
// mistake does not cause others.
class MapReader {
 public:
  using Handlers = std::vector<std::pair<std::string, std::function<void(const YamlNode&)>>>;

  std::vector<Mistake> TakeMistakes() { return std::move(mistakes_); }

 protected:
  void Add(Position at, const std::string& path, std::string_view message);

  // Calls the handler of each key.
  void ReadMap(const YamlNode& node, const std::string& path, const Handlers& handlers);

  // Calls `visit` for each key of a map that is a text and there for the first time.
  void ForEachKey(const YamlNode& node, const std::string& path, std::string_view expected,
                  const std::function<void(const YamlNode&, const YamlNode&)>& visit);

  void ReadList(const YamlNode& node, const std::string& path, std::vector<std::string>& texts);

  static std::string Join(const std::string& path, const std::string& key);

  // Sets `target` to what was understood, else says why not and sets the stand-in.
  template <typename T>
  bool Set(const YamlNode& node, const std::string& path, absl::StatusOr<T> value, T& target,
           T stand_in = {}) {
    if (value.ok()) {
      target = *std::move(value);
      return true;
    }
    Add(node.at, path, std::string(value.status().message()));
    target = std::move(stand_in);
    return false;
  }

  std::map<std::string, Position> marks_;  // of the values that the file has
  std::set<std::string> broken_;           // paths that have a mistake already
  std::vector<Mistake> mistakes_;

 private:
  void UnknownKey(const YamlNode& key, const std::string& path,
                  const std::vector<std::string>& known);
};

}  // namespace corpgrid::job
