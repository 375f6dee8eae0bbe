#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <string>
#include <string_view>

#include "fmt/format.h"
#include "objects/bundle.h"

namespace {

namespace fs = std::filesystem;

// In memory, where there is such a thing: what the fuzzer finds is not about disks.
std::string MakeFolder() {
  std::string path = fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string();
  path += "/corpgrid-fuzz-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) std::abort();
  return path;
}

void Check(bool holds) {
  if (!holds) std::abort();
}

absl::Status Unpack(std::string_view archive, size_t piece_bytes, const std::string& folder) {
  const corpgrid::objects::UnpackLimits limits{
      .bytes = 1 << 16, .entries = 64, .path_bytes = 4096, .depth = 16};
  return corpgrid::objects::UnpackBundle(
      [&]() -> absl::StatusOr<std::string> {
        const std::string piece(archive.substr(0, piece_bytes));
        archive.remove_prefix(piece.size());
        return piece;
      },
      folder, limits);
}

absl::Status Pack(const std::string& folder, std::string* archive) {
  return corpgrid::objects::PackBundle(folder, [&](std::string_view bytes) {
    *archive += bytes;
    return absl::OkStatus();
  });
}

}  // namespace

// libFuzzer's own; absent where the corpus is only replayed.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size)
    __attribute__((weak));

// Makes the checksums of headers right again, most of the time, so that what is behind them is
// reached.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  constexpr size_t kBlock = 512;
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 == 0) return size;
  for (size_t at = 0; at + kBlock <= size; at += kBlock) {
    if (std::memcmp(data + at + 257, "ustar", 5) != 0) continue;
    std::memset(data + at + 148, ' ', 8);
    const unsigned sum = std::accumulate(data + at, data + at + kBlock, 0u);
    fmt::format_to(data + at + 148, "{:06o}", sum);
    data[at + 154] = '\0';
  }
  return size;
}

// Whatever comes: nothing appears beside the folder, an error leaves it empty, and what was
// accepted packs to an archive that unpacks to the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string base = MakeFolder();
  const std::string folder = base + "/a/b";
  fs::create_directories(folder);
  const size_t piece_bytes = size == 0 ? 1 : 1 + data[size - 1] * 7;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const bool accepted = Unpack(input, piece_bytes, folder).ok();
  Check(accepted || fs::is_empty(folder));
  const auto entries_in = [](const std::string& path) {
    return std::distance(fs::directory_iterator(path), fs::directory_iterator());
  };
  Check(entries_in(base) == 1 && entries_in(base + "/a") == 1);
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::file_status status = entry.symlink_status();
    Check(fs::is_regular_file(status) || fs::is_directory(status));
  }
  if (accepted) {
    std::string first;
    std::string second;
    Check(Pack(folder, &first).ok());
    fs::remove_all(folder);
    fs::create_directory(folder);
    Check(Unpack(first, 1 << 16, folder).ok());
    Check(Pack(folder, &second).ok());
    Check(first == second);
  }
  fs::remove_all(base);
  return 0;
}
