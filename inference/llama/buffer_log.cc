#include "inference/llama/buffer_log.h"

#include <algorithm>
#include <charconv>

#include "fmt/format.h"

namespace corpgrid::inference {

std::optional<uint64_t> BytesAfter(std::string_view line, std::string_view label) {
  const size_t at = line.find(label);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(at + label.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  double mebibytes = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), mebibytes);
  if (error != std::errc() ||
      !std::string_view(end, rest.data() + rest.size() - end).starts_with(" MiB")) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(mebibytes * (1 << 20));
}

Buffers ReadBuffers(const std::vector<std::string>& lines, std::string_view kind,
                    const std::string& gpu) {
  const std::string label = fmt::format(" {} buffer size =", kind);
  const std::string of_gpu = fmt::format(" {}{}", gpu, label);
  Buffers buffers;
  for (const std::string& line : lines) {
    const uint64_t bytes = BytesAfter(line, label).value_or(0);
    buffers.bytes += bytes;
    if (!gpu.empty() && line.find(of_gpu) != std::string::npos) buffers.gpu_bytes += bytes;
  }
  return buffers;
}

}  // namespace corpgrid::inference
