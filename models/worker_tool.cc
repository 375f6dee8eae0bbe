#include "models/worker_tool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/clock.h"
#include "base/last_words.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/worker_environment.h"
#include "platform/process.h"

namespace corpgrid::models {
namespace {

using inference::Json;

constexpr size_t kMaxLineBytes = 32 << 20;  // a chat template may be long
constexpr int kLookMs = 100;                // how often somebody may want it to stop

struct Pipe {
  platform::Fd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return platform::SystemError("pipe", errno);
  return Pipe{platform::Fd(ends[0]), platform::Fd(ends[1])};
}

// What a tool says: progress on the way, a result or an error at the end, a JSON object a line.
class Conversation {
 public:
  explicit Conversation(const std::function<void(double)>& on_progress)
      : on_progress_(on_progress) {}

  bool Hear(std::string_view bytes) {
    line_ += bytes;
    for (size_t end; (end = line_.find('\n')) != std::string::npos; line_.erase(0, end + 1)) {
      HearLine(std::string_view(line_).substr(0, end));
    }
    return line_.size() < kMaxLineBytes;
  }

  void HearError(std::string_view bytes) {
    words_ += bytes;
    if (words_.size() > 2 * kLastWordsBytes) words_.erase(0, words_.size() - kLastWordsBytes);
  }

  const std::string& words() const { return words_; }  // the end of them
  const Json& result() const { return result_; }
  const absl::Status& error() const { return error_; }

 private:
  void HearLine(std::string_view line) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return;
    if (json.contains("result")) result_ = json["result"];
    if (on_progress_ && json.contains("progress") && json["progress"].is_number()) {
      on_progress_(json["progress"].get<double>());
    }
    if (json.contains("error") && json["error"].is_object()) {
      const Json code = json["error"].value("code", Json()),
                 message = json["error"].value("message", Json());
      if (code.is_number_integer() && message.is_string()) {
        error_ = absl::Status(static_cast<absl::StatusCode>(code.get<int>()),
                              message.get<std::string>());
      }
    }
  }

  const std::function<void(double)>& on_progress_;
  std::string line_;
  std::string words_;
  Json result_;
  absl::Status error_;
};

// False at its end.
bool ReadSome(platform::Fd* fd, std::string* bytes) {
  char part[64 << 10];
  const ssize_t size = read(fd->get(), part, sizeof part);
  if (size < 0 && errno == EINTR) return true;
  if (size <= 0) return false;
  bytes->assign(part, static_cast<size_t>(size));
  return true;
}

// Until it has closed both; the errors that end it before.
absl::Status Listen(const WorkerProgram& program, Pipe* output, Pipe* errors,
                    Conversation* conversation) {
  const int64_t end_ms = SystemClock().MonotonicMs() + program.timeout_ms;
  while (output->read || errors->read) {
    if (program.stop != nullptr && *program.stop) return absl::CancelledError("stopped");
    if (program.timeout_ms > 0 && SystemClock().MonotonicMs() > end_ms) {
      return absl::DeadlineExceededError(
          fmt::format("the worker program took more than {} s", program.timeout_ms / 1000));
    }
    pollfd ready[] = {{output->read.get(), POLLIN, 0}, {errors->read.get(), POLLIN, 0}};
    if (poll(ready, 2, kLookMs) <= 0) continue;
    std::string bytes;
    if (ready[0].revents != 0) {
      if (!ReadSome(&output->read, &bytes)) {
        output->read.Reset();
      } else if (!conversation->Hear(bytes)) {
        return absl::InternalError("the worker program says too much");
      }
    }
    bytes.clear();
    if (ready[1].revents != 0) {
      if (!ReadSome(&errors->read, &bytes)) errors->read.Reset();
      conversation->HearError(bytes);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> RunWorkerTool(const WorkerProgram& program,
                                   const std::vector<std::string>& arguments,
                                   const std::function<void(double)>& on_progress) {
  ASSIGN_OR_RETURN(Pipe output, MakePipe());
  ASSIGN_OR_RETURN(Pipe errors, MakePipe());
  std::vector<std::string> argv = {program.path};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  absl::StatusOr<platform::Process> process =
      platform::Process::Start({.argv = std::move(argv),
                                .env = inference::WorkerEnvironment(),
                                .fds = {{output.write.get(), 1}, {errors.write.get(), 2}},
                                .die_with_thread = true});
  if (process.status().code() == absl::StatusCode::kNotFound) {
    return absl::NotFoundError(fmt::format(
        "{} is missing; it looks into models, and is built where the inference libraries are: "
        "./dev setup, ./dev build",
        program.path));
  }
  RETURN_IF_ERROR(process.status());
  output.write.Reset();
  errors.write.Reset();
  Conversation conversation(on_progress);
  RETURN_IF_ERROR(Listen(program, &output, &errors, &conversation));
  const int status = process->Wait(-1).value_or(-1);
  if (!conversation.error().ok()) return conversation.error();
  if (status == 0 && !conversation.result().is_null()) return conversation.result();
  const std::string how = WIFSIGNALED(status)
                              ? fmt::format("by signal {}", WTERMSIG(status))
                              : fmt::format("with exit status {}", WEXITSTATUS(status));
  const std::string words = LastWords(conversation.words());
  return absl::InternalError(fmt::format("the worker program ended {} at `{}`{}{}", how,
                                         arguments.empty() ? "" : arguments[0],
                                         words.empty() ? "" : "; its last words: ", words));
}

absl::StatusOr<inference::Inspection> InspectFile(const WorkerProgram& program,
                                                  const std::string& file, bool try_it) {
  std::vector<std::string> arguments = {"inspect", file};
  if (try_it) arguments.emplace_back("--try");
  ASSIGN_OR_RETURN(const Json json, RunWorkerTool(program, arguments));
  if (!json.is_object()) return absl::InternalError("the worker program says no facts");
  inference::Inspection inspection;
  ASSIGN_OR_RETURN(inspection.facts, inference::ParseFacts(json.value("facts", Json())));
  ASSIGN_OR_RETURN(inspection.compatibility,
                   inference::ParseCompatibility(json.value("verdict", Json())));
  return inspection;
}

absl::StatusOr<inference::MemoryEstimate> EstimateFile(const WorkerProgram& program,
                                                       const std::string& file, uint32_t context,
                                                       uint32_t sequences) {
  ASSIGN_OR_RETURN(const Json json,
                   RunWorkerTool(program, {"estimate", file, "--context", std::to_string(context),
                                           "--sequences", std::to_string(sequences)}));
  return inference::ParseEstimate(json);
}

absl::StatusOr<std::vector<inference::Gpu>> ListGpus(const std::string& worker_path) {
  ASSIGN_OR_RETURN(const Json json,
                   RunWorkerTool({.path = worker_path, .timeout_ms = 10'000}, {"gpus"}));
  std::vector<inference::Gpu> gpus;
  if (!json.is_object()) return absl::InternalError("the worker program lists no GPUs");
  for (const Json& one : json.value("gpus", Json::array())) {
    ASSIGN_OR_RETURN(inference::Gpu gpu, inference::ParseGpu(one));
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

}  // namespace corpgrid::models
