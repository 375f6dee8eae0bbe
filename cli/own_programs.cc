#include "cli/own_programs.h"

#include <filesystem>

#include "fmt/format.h"

namespace corpgrid::cli {

namespace fs = std::filesystem;

std::string ThisProgram() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).string();
}

absl::StatusOr<std::string> FindBeside(const std::string& name) {
  const fs::path program = fs::path(ThisProgram()).parent_path() / name;
  std::error_code error;
  if (fs::exists(program, error)) return program.string();
  return absl::NotFoundError(
      fmt::format("{} is missing beside {}: install it there", name, ThisProgram()));
}

}  // namespace corpgrid::cli
