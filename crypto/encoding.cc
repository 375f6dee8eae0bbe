#include "crypto/encoding.h"

#include <cstdlib>
#include <limits>

#include "fmt/format.h"

namespace corpgrid::crypto {
namespace {

void AppendLittleEndian(std::string& bytes, uint64_t number, int width) {
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(number >> (8 * i) & 0xff);
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<uint8_t>(bytes[i]);
  return number;
}

}  // namespace

Encoder::Encoder(std::string_view domain, uint32_t version) { Add(domain).Add(uint64_t{version}); }

Encoder& Encoder::Add(std::string_view field) {
  // A cut length would let two messages share their bytes.
  if (field.size() > std::numeric_limits<uint32_t>::max()) std::abort();
  AppendLittleEndian(bytes_, field.size(), 4);
  bytes_ += field;
  return *this;
}

Encoder& Encoder::Add(uint64_t number) {
  AppendLittleEndian(bytes_, sizeof number, 4);
  AppendLittleEndian(bytes_, number, sizeof number);
  return *this;
}

Encoder& Encoder::AddSigned(int64_t number) { return Add(static_cast<uint64_t>(number)); }

Decoder::Decoder(std::string_view bytes, std::string_view domain, uint32_t version) : rest_(bytes) {
  if (Text() != domain) Fail(fmt::format("this is no {}", domain));
  if (const uint64_t found = Number(); found != version) {
    Fail(fmt::format("{} of version {}, this program reads version {}", domain, found, version));
  }
}

std::string_view Decoder::Text() {
  if (!ok()) return {};
  if (rest_.size() < 4) {
    Fail("the bytes end too early");
    return {};
  }
  const uint64_t size = ReadLittleEndian(rest_.substr(0, 4));
  if (size > rest_.size() - 4) {
    Fail(fmt::format("a field of {} bytes, but only {} bytes are left", size, rest_.size() - 4));
    return {};
  }
  const std::string_view text = rest_.substr(4, size);
  rest_.remove_prefix(4 + size);
  return text;
}

uint64_t Decoder::Number() {
  const std::string_view field = Text();
  if (ok() && field.size() != sizeof(uint64_t)) {
    Fail(fmt::format("expected a number of 8 bytes, got {} bytes", field.size()));
  }
  return ok() ? ReadLittleEndian(field) : 0;
}

int64_t Decoder::Signed() { return static_cast<int64_t>(Number()); }

uint64_t Decoder::Count(uint64_t limit) {
  const uint64_t count = Number();
  if (count > limit) Fail(fmt::format("a count of {}, at most {} are allowed", count, limit));
  return ok() ? count : 0;
}

absl::Status Decoder::Finish() const {
  if (ok() && !rest_.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("malformed encoding: bytes left over: {}", rest_.size()));
  }
  return status_;
}

void Decoder::Fail(std::string_view what) {
  if (ok()) status_ = absl::InvalidArgumentError(fmt::format("malformed encoding: {}", what));
}

}  // namespace corpgrid::crypto
