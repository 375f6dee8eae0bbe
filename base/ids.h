#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace corpgrid {

// A number that names one kind of thing and cannot be mixed up with another. 0 means "none".
template <typename Tag>
struct Id {
  uint64_t value = 0;

  auto operator<=>(const Id&) const = default;
  explicit operator bool() const { return value != 0; }
  std::string ToString() const { return std::to_string(value); }
};

using DeviceId = Id<struct DeviceTag>;
using JobId = Id<struct JobTag>;
using AttemptId = Id<struct AttemptTag>;

// A shard is named by its job and its index within the job.
struct ShardId {
  JobId job;
  uint32_t index = 0;

  auto operator<=>(const ShardId&) const = default;
};

}  // namespace corpgrid

template <typename Tag>
struct std::hash<corpgrid::Id<Tag>> {
  size_t operator()(const corpgrid::Id<Tag>& id) const { return std::hash<uint64_t>()(id.value); }
};
