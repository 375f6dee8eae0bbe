#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::crypto {

// The one encoding that signatures cover: a domain string, a version, then fields, each
// length-prefixed (little-endian u32), so that no two different messages have the same bytes.
class Encoder {
 public:
  Encoder(std::string_view domain, uint32_t version);
  Encoder& Add(std::string_view field);
  Encoder& Add(uint64_t number);
  // For negative numbers and for bool use the same eight bytes, two's complement.
  Encoder& AddSigned(int64_t number);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads back what an Encoder wrote. The first error sticks; ask status() once at the end.
class Decoder {
 public:
  // `bytes` must outlive the decoder. Status is InvalidArgument when domain or version differ.
  Decoder(std::string_view bytes, std::string_view domain, uint32_t version);
  std::string_view Text();
  uint64_t Number();
  int64_t Signed();
  // A count of at most `limit` items; more is an error, so that a lying length cannot make anyone
  // allocate.
  uint64_t Count(uint64_t limit);
  // OK when all was read without error and nothing is left.
  absl::Status Finish() const;
  bool ok() const { return status_.ok(); }

 private:
  void Fail(std::string_view what);

  std::string_view rest_;
  absl::Status status_;
};

}  // namespace corpgrid::crypto
