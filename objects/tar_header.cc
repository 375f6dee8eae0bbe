#include <algorithm>
#include <cstring>

#include "fmt/format.h"
#include "job/text.h"
#include "objects/tar.h"

namespace corpgrid::objects {
namespace {

constexpr size_t kNameBytes = 100;
constexpr uint64_t kMaxOctalSize = 077777777777;
constexpr size_t kMaxComponentBytes = 255;  // what file systems take

void Put(std::string& block, size_t at, std::string_view text) {
  std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
}

std::string Block(std::string_view name, char type, uint32_t mode, uint64_t size) {
  std::string block(kTarBlockBytes, '\0');
  Put(block, 0, name.substr(0, kNameBytes));
  Put(block, 100, fmt::format("{:07o}", mode));
  Put(block, 108, "0000000");  // uid
  Put(block, 116, "0000000");  // gid
  Put(block, 124, fmt::format("{:011o}", size));
  Put(block, 136, "00000000000");  // mtime
  Put(block, 148, "        ");     // the checksum counts itself as spaces
  block[156] = type;
  Put(block, 257, std::string_view("ustar\00000", 8));
  uint32_t sum = 0;
  for (const char c : block) sum += static_cast<uint8_t>(c);
  Put(block, 148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}

// "17 path=a/b/c\n", where 17 is the length of all of it, the number included.
std::string PaxRecord(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return fmt::format("{} {}={}\n", length, key, value);
}

}  // namespace

std::string EncodeTarHeader(const TarEntry& entry) {
  const std::string name = entry.path + (entry.is_folder ? "/" : "");
  std::string pax;
  const auto is_plain = [](char c) { return static_cast<uint8_t>(c) < 0x80; };
  if (name.size() > kNameBytes || !std::all_of(name.begin(), name.end(), is_plain)) {
    pax += PaxRecord("path", name);
  }
  if (entry.size_bytes > kMaxOctalSize) {
    pax += PaxRecord("size", std::to_string(entry.size_bytes));
  }
  std::string header;
  if (!pax.empty()) {
    header = Block("pax", 'x', 0644, pax.size());
    header += pax;
    header.append(TarPadding(pax.size()), '\0');
  }
  const uint32_t mode = entry.is_folder || entry.is_executable ? 0755 : 0644;
  header +=
      Block(name, entry.is_folder ? '5' : '0', mode, std::min(entry.size_bytes, kMaxOctalSize));
  return header;
}

std::string TarPathProblem(std::string_view path, const UnpackLimits& limits) {
  if (path.size() > limits.path_bytes) {
    return fmt::format("a path of {} bytes; {} are allowed", path.size(), limits.path_bytes);
  }
  if (!job::IsUtf8(path)) return "a path that is not UTF-8";
  if (job::HasControls(path)) return "a path with control characters";
  if (path.starts_with('/')) return "an absolute path";
  uint32_t depth = 0;
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view component = path.substr(at, slash - at);
    if (component.empty() || component == ".") return "a path with an empty component";
    if (component == "..") return "a path that leads up";
    if (component.size() > kMaxComponentBytes) {
      return fmt::format("a name of {} bytes; {} are allowed", component.size(),
                         kMaxComponentBytes);
    }
    if (++depth > limits.depth) return fmt::format("a path deeper than {}", limits.depth);
    at = slash + 1;
  }
  return "";
}

}  // namespace corpgrid::objects
