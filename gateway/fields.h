#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::gateway {

using Json = nlohmann::ordered_json;

// Text without line breaks; what is no UTF-8 in it becomes U+FFFD.
std::string Dump(const Json& json);

// A body that has to be a JSON object, nested at most kMaxJsonDepth deep. Errors: InvalidArgument.
inline constexpr int kMaxJsonDepth = 64;
absl::StatusOr<Json> ParseObject(std::string_view text);

// Reads the fields of a JSON object, each of the right type and in its range, and remembers the
// first that is not. A field that is null is absent. Fields that nobody asked for are errors, so
// that nothing that a client wants is silently left out. One thread.
class Fields {
 public:
  // `object` must outlive it. `path`: of the object in the request; empty: it is the request.
  explicit Fields(const Json& object, std::string path = "");

  bool Bool(std::string_view name, bool absent);
  double Number(std::string_view name, double absent, double least, double most);
  int64_t Integer(std::string_view name, int64_t absent, int64_t least, int64_t most);
  std::string Text(std::string_view name, std::string_view absent = "");
  // One of `words`.
  std::string Word(std::string_view name, std::string_view absent,
                   std::initializer_list<std::string_view> words);
  // Null when it is absent, or of the wrong type.
  const Json* Object(std::string_view name);
  const Json* List(std::string_view name);
  const Json* Any(std::string_view name);
  bool Has(std::string_view name) const;

  // An error when it is absent.
  void Require(std::string_view name);
  // These may be there and change nothing.
  void Ignore(std::initializer_list<std::string_view> names);
  void Fail(std::string_view name, std::string_view message);
  void Fail(absl::Status status);

  std::string PathOf(std::string_view name) const;
  bool ok() const { return status_.ok(); }
  // The first error; or, with none, the first field that nobody asked for.
  absl::Status Finish();

 private:
  const Json* Find(std::string_view name, std::string_view expected,
                   bool (Json::*is)() const noexcept);

  const Json& object_;
  const std::string path_;
  std::set<std::string, std::less<>> known_;
  absl::Status status_;
};

}  // namespace corpgrid::gateway
