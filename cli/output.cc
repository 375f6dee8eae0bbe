#include "cli/output.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

std::string CodeText(const absl::Status& status) {
  std::string text = absl::StatusCodeToString(status.code());
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    default:
      return kExitFailed;
  }
}

int Fail(const Common& common, const absl::Status& status) {
  const ExitCode code = ExitCodeOf(status);
  const std::string message(status.message());
  // The mistakes of a job file stand on lines of their own, as a compiler's do.
  const bool located = message.find('\n') != std::string::npos;
  Say(located ? message : "corpgrid: " + message);
  if (common.json) {
    Json json;
    json["error"] = {{"code", CodeText(status)}, {"message", message}};
    json["exit_code"] = static_cast<int>(code);
    PrintJson(json);
  }
  return code;
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintJson(const Json& json) { Print(Dump(json)); }

void Say(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stderr);
}

}  // namespace corpgrid::cli
