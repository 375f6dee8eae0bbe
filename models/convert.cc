#include "models/convert.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/last_words.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "models/file_io.h"
#include "platform/process.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLookMs = 100;
constexpr size_t kMaxLogBytes = 16 << 20;
constexpr uint64_t kSpareBytes = 16 << 20;  // metadata and tokenizer
constexpr char kSystemScript[] = "/usr/share/doc/llama.cpp-tools/scripts/convert_hf_to_gguf.py";

// Data that a model consists of. A folder may have programs as well, which its tokenizer's library
// would run.
bool IsModelData(const std::string& name) {
  constexpr std::array kSuffixes = {".safetensors", ".json",  ".model",
                                    ".txt",         ".jinja", ".tiktoken"};
  return !name.starts_with('.') &&
         std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [&](const char* end) { return name.ends_with(end); });
}

// Links the folder's data into `scratch`; the bytes of all weights.
absl::StatusOr<uint64_t> LinkData(const std::string& folder, const std::string& scratch) {
  std::error_code error;
  uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsModelData(name) || !entry.is_regular_file(error)) continue;
    if (name.ends_with(".safetensors")) bytes += entry.file_size(error);
    fs::create_symlink(fs::absolute(entry.path()), fs::path(scratch) / name, error);
    if (error) return FileError(scratch + "/" + name, "make", error.value());
  }
  if (error) return FileError(folder, "read", error.value());
  if (bytes == 0 || !fs::exists(fs::path(scratch) / "config.json")) {
    return absl::InvalidArgumentError(fmt::format(
        "{} is no model that can be converted: a folder with config.json, *.safetensors and a "
        "tokenizer is expected",
        folder));
  }
  return bytes;
}

uint64_t SizeOf(const std::string& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

std::vector<std::string> CommandOf(const std::string& converter) {
  if (!converter.ends_with(".py")) return {converter};
  return {"/usr/bin/python3", converter};
}

}  // namespace

absl::StatusOr<std::string> FindConverter() {
  if (const char* named = std::getenv("CORPGRID_CONVERTER"); named != nullptr && *named != '\0') {
    if (access(named, R_OK) == 0) return std::string(named);
    return FileError(named, "run", errno);
  }
  for (const char* path : {CORPGRID_PRIVATE_CONVERTER, kSystemScript}) {
    if (access(path, R_OK) == 0) return std::string(path);
  }
  return absl::FailedPreconditionError(
      "a folder of safetensors has to be converted, and llama.cpp's converter is not here: "
      "`./dev setup convert` fetches it with its Python libraries (300 MB, 1.4 GB on disk), or "
      "$CORPGRID_CONVERTER names it");
}

absl::Status ConvertFolder(const std::string& converter, const std::string& folder,
                           const std::string& to, const std::string& scratch,
                           const std::atomic<bool>* stop,
                           const std::function<void(uint64_t, uint64_t)>& on_progress) {
  std::error_code error;
  fs::remove_all(scratch, error);
  if (!fs::create_directory(scratch, error)) return FileError(scratch, "make", error.value());
  ASSIGN_OR_RETURN(const uint64_t total, LinkData(folder, scratch));
  RETURN_IF_ERROR(CheckSpace(scratch, total + kSpareBytes));
  const std::string log = scratch + "/.log";
  const UniqueFd output(
      open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!output.ok()) return FileError(log, "write", errno);
  std::vector<std::string> argv = CommandOf(converter);
  argv.insert(argv.end(), {scratch, "--outfile", to, "--outtype", "auto"});
  ASSIGN_OR_RETURN(
      platform::Process process,
      platform::Process::Start(
          {.argv = std::move(argv),
           .env = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + scratch, "HF_HUB_OFFLINE=1",
                   "TRANSFORMERS_OFFLINE=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1"},
           .fds = {{output.get(), 1}, {output.get(), 2}},
           .die_with_thread = true}));
  std::optional<int> status;
  while (!(status = process.Wait(kLookMs))) {
    if (stop != nullptr && *stop) return absl::CancelledError("stopped");
    on_progress(std::min(SizeOf(to), total), total);
  }
  const std::string words = LastWords(ReadFile(log, kMaxLogBytes).value_or(""));
  fs::remove_all(scratch, error);
  if (*status == 0 && SizeOf(to) > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} cannot be converted; the converter's last words: {}", folder, words));
}

}  // namespace corpgrid::models
