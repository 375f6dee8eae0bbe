#pragma once

#include <memory>
#include <string>

#include "objects/local_store.h"

namespace corpgrid::objects {

class LocalReader final : public ObjectReader {
 public:
  static absl::StatusOr<std::unique_ptr<ObjectReader>> Open(LocalStore* store,
                                                            const crypto::Hash& hash,
                                                            uint64_t offset);

  uint64_t size_bytes() const override { return object_.size_bytes; }
  absl::StatusOr<std::string> Next() override;

 private:
  LocalReader(LocalStore* store, int64_t id, ObjectRef object, uint64_t offset)
      : store_(store), id_(id), object_(object), offset_(offset) {}

  absl::StatusOr<std::string> ReadBlob();
  absl::StatusOr<std::string> ReadChunk(uint64_t seq);
  absl::Status Missing(const absl::Status& loss);

  LocalStore* const store_;
  const int64_t id_;
  const ObjectRef object_;
  uint64_t offset_;
};

}  // namespace corpgrid::objects
