#include <algorithm>
#include <charconv>
#include <limits>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "job/text.h"
#include "objects/tar.h"

namespace corpgrid::objects {
namespace {

constexpr uint64_t kMaxPaxBytes = 64 << 10;     // the longest path and then some
constexpr uint64_t kMaxTrailerBytes = 1 << 20;  // tar fills its last record with zeros

template <typename... Args>
absl::Status Bad(fmt::format_string<Args...> text, Args&&... args) {
  return absl::InvalidArgumentError("bundle: " + fmt::format(text, std::forward<Args>(args)...));
}

bool IsZero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

// A field of the header: octal digits, then spaces and NULs only.
std::optional<uint64_t> Octal(std::string_view field) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  const std::string_view rest(end, static_cast<size_t>(field.data() + field.size() - end));
  if (error != std::errc() || rest.find_first_not_of(std::string_view(" \0", 2)) != rest.npos) {
    return std::nullopt;
  }
  return value;
}

// Text up to a NUL with nothing behind it.
std::optional<std::string_view> Text(std::string_view field) {
  const size_t end = std::min(field.find('\0'), field.size());
  if (!IsZero(field.substr(end))) return std::nullopt;
  return field.substr(0, end);
}

bool ChecksumFits(std::string_view block) {
  uint64_t sum = uint64_t{8} * ' ';
  for (size_t i = 0; i < block.size(); ++i) {
    if (i < 148 || i >= 156) sum += static_cast<uint8_t>(block[i]);
  }
  return Octal(block.substr(148, 8)) == sum;
}

std::string_view KindOf(char type) {
  switch (type) {
    case '1':
      return "a hard link";
    case '2':
      return "a symbolic link";
    case '3':
    case '4':
      return "a device";
    case '6':
      return "a pipe";
    case 'S':
      return "a sparse file";
    default:
      return "an entry of an unknown kind";
  }
}

bool IsHarmless(std::string_view pax_key) {
  constexpr std::string_view kHarmless[] = {"atime", "ctime", "mtime", "uid",
                                            "gid",   "uname", "gname", "comment"};
  return std::find(std::begin(kHarmless), std::end(kHarmless), pax_key) != std::end(kHarmless);
}

}  // namespace

absl::Status TarReader::Fill() {
  if (buffer_at_ < buffer_.size()) return absl::OkStatus();
  ASSIGN_OR_RETURN(buffer_, source_());
  buffer_at_ = 0;
  if (buffer_.empty()) return Bad("it ends too early");
  return absl::OkStatus();
}

absl::StatusOr<std::string> TarReader::ReadBytes(uint64_t count) {
  std::string bytes;
  while (bytes.size() < count) {
    RETURN_IF_ERROR(Fill());
    const size_t part = std::min<uint64_t>(count - bytes.size(), buffer_.size() - buffer_at_);
    bytes.append(buffer_, buffer_at_, part);
    buffer_at_ += part;
  }
  return bytes;
}

absl::StatusOr<std::string_view> TarReader::Data() {
  if (data_left_ == 0) {
    ASSIGN_OR_RETURN(const std::string padding, ReadBytes(std::exchange(padding_left_, 0)));
    if (!IsZero(padding)) return Bad("there are bytes between two entries");
    return "";
  }
  RETURN_IF_ERROR(Fill());
  const size_t part = std::min<uint64_t>(data_left_, buffer_.size() - buffer_at_);
  const std::string_view data = std::string_view{buffer_}.substr(buffer_at_, part);
  buffer_at_ += part;
  data_left_ -= part;
  return data;
}

absl::StatusOr<std::optional<TarEntry>> TarReader::Next() {
  PaxRecords pax;
  for (bool has_pax = false;; has_pax = true) {
    ASSIGN_OR_RETURN(const std::string block, ReadBytes(kTarBlockBytes));
    if (IsZero(block) && !has_pax) {
      RETURN_IF_ERROR(CheckEnd());
      return std::optional<TarEntry>();
    }
    if (block.compare(257, 8, std::string_view("ustar\00000", 8)) != 0) {
      return Bad("it is not an uncompressed tar archive (ustar or pax)");
    }
    if (!ChecksumFits(block)) return Bad("a header is damaged (its checksum does not fit)");
    if (block[156] != 'x') {
      ASSIGN_OR_RETURN(TarEntry entry, ParseEntry(block, std::move(pax)));
      data_left_ = entry.size_bytes;
      padding_left_ = TarPadding(entry.size_bytes);
      return std::optional(std::move(entry));
    }
    if (has_pax) return Bad("two extended headers follow each other");
    const std::optional<uint64_t> size = Octal(std::string_view{block}.substr(124, 12));
    if (!size || *size > kMaxPaxBytes) {
      return Bad("an extended header is larger than {} bytes", kMaxPaxBytes);
    }
    ASSIGN_OR_RETURN(pax, ReadPax(*size));
  }
}

absl::StatusOr<TarReader::PaxRecords> TarReader::ReadPax(uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadBytes(size_bytes));
  ASSIGN_OR_RETURN(const std::string padding, ReadBytes(TarPadding(size_bytes)));
  if (!IsZero(padding)) return Bad("there are bytes behind an extended header");
  PaxRecords records;
  for (std::string_view rest = bytes; !rest.empty();) {
    // "LENGTH KEY=VALUE\n"
    size_t length = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    const auto digits = static_cast<size_t>(end - rest.data());
    const bool fits = error == std::errc() && length <= rest.size() && length >= digits + 4 &&
                      rest[digits] == ' ' && rest[length - 1] == '\n';
    const std::string_view record = fits ? rest.substr(digits + 1, length - digits - 2) : "";
    const size_t equals = record.find('=');
    if (!fits || equals == record.npos) return Bad("an extended header is malformed");
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    rest.remove_prefix(length);
    if (key == "path" && !records.path) {
      records.path = value;
    } else if (key == "size" && !records.size_bytes) {
      uint64_t size = 0;
      const auto [last, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
      if (wrong != std::errc() || last != value.data() + value.size()) {
        return Bad("an extended header has the size {}", job::Quote(value));
      }
      records.size_bytes = size;
    } else if (!IsHarmless(key)) {
      return Bad("an extended header has {}, which is not supported", job::Quote(key));
    }
  }
  return records;
}

absl::StatusOr<TarEntry> TarReader::ParseEntry(const std::string& block, PaxRecords pax) {
  const std::string_view header = block;
  TarEntry entry;
  if (pax.path) {
    entry.path = *std::move(pax.path);
  } else {
    const auto name = Text(header.substr(0, 100));
    const auto prefix = Text(header.substr(345, 155));
    if (!name || !prefix) return Bad("a name has bytes behind its end");
    entry.path = prefix->empty() ? std::string(*name) : fmt::format("{}/{}", *prefix, *name);
  }
  const char type = header[156];
  entry.is_folder = type == '5';
  if (entry.is_folder && entry.path.ends_with('/')) entry.path.pop_back();
  const std::string problem = TarPathProblem(entry.path, limits_);
  if (!problem.empty()) return Bad("{} is {}", job::Quote(entry.path), problem);
  if (type != '0' && type != '\0' && type != '5') {
    return Bad("{} is {}; only files and folders are allowed", job::Quote(entry.path),
               KindOf(type));
  }
  const auto mode = Octal(header.substr(100, 8));
  const auto size = pax.size_bytes ? pax.size_bytes : Octal(header.substr(124, 12));
  if (!mode || !size) return Bad("{} has a damaged header", job::Quote(entry.path));
  if (!IsZero(header.substr(157, 100))) return Bad("{} is a link", job::Quote(entry.path));
  if (entry.is_folder && *size != 0) {
    return Bad("{} is a folder with bytes of its own", job::Quote(entry.path));
  }
  entry.is_executable = (*mode & 0111) != 0;
  entry.size_bytes = *size;
  return entry;
}

absl::Status TarReader::CheckEnd() {
  ASSIGN_OR_RETURN(const std::string second, ReadBytes(kTarBlockBytes));
  std::string_view rest = second;
  for (uint64_t seen = 0; seen <= kMaxTrailerBytes; seen += rest.size()) {
    if (!IsZero(rest)) return Bad("there are bytes behind its end");
    if (buffer_at_ == buffer_.size()) {
      ASSIGN_OR_RETURN(buffer_, source_());
      buffer_at_ = 0;
      if (buffer_.empty()) return absl::OkStatus();
    }
    rest = std::string_view{buffer_}.substr(buffer_at_);
    buffer_at_ = buffer_.size();
  }
  return Bad("there are bytes behind its end");
}

}  // namespace corpgrid::objects
